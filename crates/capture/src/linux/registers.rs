//! The registers of stopped threads.

use std::io;

use dotdump_snapshot::linux::LinuxArchitecture;

use super::ptrace::{self, register_set};

/// What was read of a thread, as [`LinuxThread`](dotdump_snapshot::linux::LinuxThread) has it.
#[derive(Debug, Default)]
pub(super) struct Registers {
    pub(super) general: Vec<u8>,
    pub(super) floating_point: Option<Vec<u8>>,
    pub(super) fxsave: Option<Vec<u8>>,
    pub(super) xstate: Option<Vec<u8>>,
    pub(super) tls_base: Option<u64>,
}

/// The size of the general registers: 17 words on x86, 27 on x86-64 and 34 on ARM64.
const fn general_size(architecture: LinuxArchitecture) -> usize {
    match architecture {
        LinuxArchitecture::X86 => 17 * 4,
        LinuxArchitecture::Amd64 => 27 * 8,
        LinuxArchitecture::Arm64 => 34 * 8,
    }
}

/// Reads the registers of a stopped thread. Those beyond the general ones are left out where the processor or the kernel
/// does not have them.
pub(super) fn read(thread: i32, architecture: LinuxArchitecture, extended_state: bool) -> io::Result<Registers> {
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut set = |set| {
        ptrace::registers(thread, set, &mut buffer)?;
        Ok::<_, io::Error>(buffer.as_slice().to_vec())
    };
    let mut registers = Registers {
        general: set(register_set::NT_PRSTATUS)?,
        floating_point: set(register_set::NT_PRFPREG).ok(),
        ..Registers::default()
    };
    match architecture {
        LinuxArchitecture::X86 => {
            registers.fxsave = set(register_set::NT_PRXFPREG).ok();
            registers.tls_base = set(register_set::NT_386_TLS)
                .ok()
                .and_then(|segments| segment_base(&registers.general, &segments));
        }
        LinuxArchitecture::Arm64 => {
            registers.tls_base = set(register_set::NT_ARM_TLS).ok().and_then(|tls| word(&tls, 0));
        }
        LinuxArchitecture::Amd64 => {}
    }
    if extended_state && architecture != LinuxArchitecture::Arm64 {
        registers.xstate = set(register_set::NT_X86_XSTATE).ok().map(without_unused_tiles);
    }
    #[cfg(target_arch = "x86_64")]
    if architecture == LinuxArchitecture::Amd64 && registers.general.len() < general_size(architecture) {
        // The kernel shows 32-bit registers of a thread that runs 32-bit code at this moment.
        registers.general = ptrace::general_registers(thread)?;
        registers.floating_point = ptrace::floating_point_registers(thread).ok();
    }
    if registers.general.len() != general_size(architecture) {
        let (found, wanted) = (registers.general.len(), general_size(architecture));
        return Err(io::Error::other(format!("{found} bytes instead of {wanted}")));
    }
    Ok(registers)
}

/// Leaves out the tiles of AMX, three quarters of an image of XSAVE, where the thread does not use them: `XSTATE_BV` at
/// byte 512 tells, and they lie last, from byte 2752 on (Intel SDM volume 1, 13.4 and 13.5.14).
fn without_unused_tiles(mut image: Vec<u8>) -> Vec<u8> {
    const FIRST_TILES: u32 = 17;
    const PLACE: usize = 2752;

    if word(&image, 512).is_some_and(|used| used >> FIRST_TILES == 0) {
        image.truncate(PLACE);
        image.shrink_to_fit();
    }
    image
}

/// The base of the segment that `gs` selects: `general` are the registers of a 32-bit program (`gs` is the eleventh),
/// `segments` its `struct user_desc`s (entry number, base, limit, flags: 4 bytes each).
fn segment_base(general: &[u8], segments: &[u8]) -> Option<u64> {
    const GS: usize = 10;
    let half = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk::<4>().copied()?));
    let selected = (half(general, GS * 4)? & 0xFFFF) >> 3;
    segments
        .chunks_exact(16)
        .find(|segment| selected != 0 && half(segment, 0) == Some(selected))
        .and_then(|segment| half(segment, 4).map(u64::from))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk::<8>().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_that_are_used_are_kept() {
        let image = |used: u64| {
            let mut image = vec![0; 11_008];
            image[512..520].copy_from_slice(&used.to_le_bytes());
            image
        };
        assert_eq!(without_unused_tiles(image(0x2E7)).len(), 2752);
        assert_eq!(without_unused_tiles(image(0x2_02E7)).len(), 11_008);
        assert_eq!(without_unused_tiles(image(0x6_0007)).len(), 11_008);
        assert_eq!(without_unused_tiles(vec![0; 832]).len(), 832);
    }

    /// glibc on a 64-bit kernel sets `gs` to 0x63, the thirteenth descriptor (`asm/segment.h`: GDT_ENTRY_TLS_MIN 12).
    #[test]
    fn segment_of_gs() {
        let mut general = vec![0; 68];
        general[40] = 0x63;
        let mut segments = Vec::new();
        for (entry, base) in [(12_u32, 0xF7D0_0000_u32), (13, 1), (14, 2)] {
            for field in [entry, base, 0xF_FFFF, 0x51] {
                segments.extend(field.to_le_bytes());
            }
        }
        assert_eq!(segment_base(&general, &segments), Some(0xF7D0_0000));
        general[40] = 0;
        assert_eq!(segment_base(&general, &segments), None);
        assert_eq!(segment_base(&general[..40], &segments), None);
    }
}
