//! The registers of a stopped thread.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::BorrowedHandle;
use std::ptr;

use dotdump_format::Endian;
use dotdump_format::minidump::context::xstate::{XStateConfig, feature, write_extended};
use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, GetThreadContext};

use super::native::{Bytes, functions, missing, raw};

/// All that a context can have, extended state apart: `CONTEXT_ALL` of the build's processor (`winnt.h`).
const CONTEXT_ALL: u32 = if cfg!(target_arch = "x86_64") {
    0x0010_001F
} else if cfg!(target_arch = "aarch64") {
    0x0040_001F
} else {
    0x0001_003F
};

/// `CONTEXT_XSTATE` of x86 and AMD64.
const CONTEXT_XSTATE: u32 = 0x40;

/// The size of a context in bytes.
const BASE: usize = size_of::<CONTEXT>();

/// The registers of one thread.
pub(super) struct Registers {
    /// The `CONTEXT`.
    base: Vec<u8>,
    /// The components of extended state that are not in their initial state: their bits and their bytes.
    components: Vec<(u32, Vec<u8>)>,
}

impl Registers {
    /// Those of a thread that is stopped. `features` is the extended state to get, as [`extended_features`] tells it.
    pub(super) fn read(thread: BorrowedHandle<'_>, features: u64) -> io::Result<Self> {
        if features != 0
            && let Ok(registers) = read_extended(thread, features)
        {
            return Ok(registers);
        }
        // The system wants contexts aligned to 16 bytes.
        let mut bytes = Bytes::new(BASE);
        let context: *mut CONTEXT = bytes.as_mut_ptr().cast();
        // SAFETY: the buffer is as large as a context and aligned for one; any bytes are a valid one.
        unsafe { (*context).ContextFlags = CONTEXT_ALL };
        // SAFETY: the handle is open, and the context is whole.
        if unsafe { GetThreadContext(raw(thread), context) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base: bytes.as_slice()[..BASE].to_vec(),
            components: Vec::new(),
        })
    }

    /// As a record of a dump. With `config` it is extended by room for all the components that are listed there.
    pub(super) fn into_bytes(self, config: Option<&XStateConfig>) -> Vec<u8> {
        let Some(config) = config else {
            return self.base;
        };
        let components: Vec<(u32, &[u8])> = self
            .components
            .iter()
            .map(|(bit, bytes)| (*bit, bytes.as_slice()))
            .collect();
        write_extended(&self.base, config, &components, Endian::Little).unwrap_or(self.base)
    }
}

/// What describes the extended state of these threads: the components that any of them uses. `None` where none was had.
pub(super) fn config<'a>(features: u64, all: impl Iterator<Item = &'a Registers>) -> Option<XStateConfig> {
    let mut used = 0;
    for registers in all {
        for (bit, _) in &registers.components {
            used |= feature::mask(*bit);
        }
    }
    // Readers expect AVX wherever the processor has it, also where no thread made use of it.
    used |= features & feature::mask(feature::AVX);
    (used != 0).then(|| XStateConfig::for_features(BASE, used))
}

/// The extended state that this system can give: bits of components. 0 where it gives none, and on processors without.
pub(super) fn extended_features() -> u64 {
    let functions = functions();
    let (Some(enabled), Some(_)) = (functions.get_enabled_xstate_features, functions.locate_xstate_feature) else {
        return 0;
    };
    if !cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        return 0;
    }
    // SAFETY: it takes nothing.
    let enabled = unsafe { enabled() };
    (0..u64::BITS)
        .filter(|bit| feature::default_size(*bit).is_some())
        .map(feature::mask)
        .fold(0, |all, bit| all | (enabled & bit & !feature::LEGACY))
}

fn read_extended(thread: BorrowedHandle<'_>, features: u64) -> io::Result<Registers> {
    let functions = functions();
    let set_mask = functions.set_xstate_features_mask.ok_or_else(missing)?;
    let get_mask = functions.get_xstate_features_mask.ok_or_else(missing)?;
    let locate = functions.locate_xstate_feature.ok_or_else(missing)?;
    let mut size = 0;
    // The first call tells the size, and fails.
    let _ = initialize(ptr::null_mut(), features, &mut size);
    let mut bytes = Bytes::new(usize::try_from(size).map_err(io::Error::other)?.max(BASE));
    let context = initialize(bytes.as_mut_ptr(), features, &mut size)?;
    let start = context.addr().wrapping_sub(bytes.address());
    if start.checked_add(BASE).is_none_or(|end| end > bytes.len()) {
        return Err(io::Error::other("a context outside of its buffer"));
    }
    // SAFETY: the context was just made in the buffer, which is as large as the system asked for.
    if unsafe { set_mask(context, features) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and the context is whole.
    if unsafe { GetThreadContext(raw(thread), context.cast()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut used = 0;
    // SAFETY: the context is whole, and the mask is written in place.
    if unsafe { get_mask(context, &raw mut used) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut components = Vec::new();
    for bit in (0..u64::BITS).filter(|bit| used & features & feature::mask(*bit) != 0) {
        let mut length = 0;
        // SAFETY: the context is whole, and the length is written in place.
        let place = unsafe { locate(context, bit, &raw mut length) };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if place.is_null() || feature::default_size(bit) != Some(length) {
            continue;
        }
        let start = place.addr().wrapping_sub(bytes.address());
        if let Some(part) = start
            .checked_add(length)
            .and_then(|end| bytes.as_slice().get(start..end))
        {
            components.push((bit, part.to_vec()));
        }
    }
    Ok(Registers {
        base: bytes.as_slice()[start..start + BASE].to_vec(),
        components,
    })
}

/// Makes a context with room for extended state in `buffer`, or tells how large that has to be.
fn initialize(buffer: *mut c_void, features: u64, size: &mut u32) -> io::Result<*mut c_void> {
    let mut context = ptr::null_mut();
    let flags = CONTEXT_ALL | CONTEXT_XSTATE;
    let functions = functions();
    let done = if let Some(initialize) = functions.initialize_context2 {
        // SAFETY: the buffer is null or as large as `size` says, and the results are written in place.
        unsafe { initialize(buffer, flags, &raw mut context, size, features) }
    } else {
        let initialize = functions.initialize_context.ok_or_else(missing)?;
        // SAFETY: as above.
        unsafe { initialize(buffer, flags, &raw mut context, size) }
    };
    if done == 0 || context.is_null() {
        return Err(io::Error::last_os_error());
    }
    Ok(context)
}
