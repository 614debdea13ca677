//! The records of Windows: `JIT_DEBUG_INFO` (`dbgeng.h`), `EXCEPTION_POINTERS`, `EXCEPTION_RECORD` and `CONTEXT` (`winnt.h`).

use dotdump_format::minidump::context::xstate::ContextEx;
use dotdump_format::minidump::context::{ContextFlags, ContextKind};
use dotdump_format::minidump::exception::{EXCEPTION_MAXIMUM_PARAMETERS, ExceptionStream};
use dotdump_format::minidump::system_info::ProcessorArchitecture;
use dotdump_format::{Endian, Error, Record, VirtAddr};
use dotdump_snapshot::memory::read_array;
use dotdump_snapshot::{Memory, ProcessSnapshot};

use super::ExceptionRequest;
use super::found::{Exception, Lack, Told};
use crate::words::Words;

/// `STATUS_BREAKPOINT` (`ntstatus.h`): what a debugger reports that broke into a process.
pub(super) const BREAKPOINT: u32 = 0x8000_0003;

/// The most that is read behind a CONTEXT, in bytes. All known components need 11 KiB.
const MAX_EXTENSION: u32 = 64 << 10;

/// Reads what a request names.
pub(super) fn read(snapshot: &dyn ProcessSnapshot, request: &ExceptionRequest) -> Result<Told, Lack> {
    if request.signal_info.is_some() {
        let message = "a siginfo_t tells the signal of a Linux process, and this is one of Windows";
        return Err(Lack::Inapplicable("--signal-info", message));
    }
    let mut reader = Reader {
        snapshot,
        words: Words::of(snapshot),
        told: Told::default(),
    };
    if let Some(address) = request.jit_debug_info {
        reader.jit_debug_info(address)?;
    }
    if let Some(address) = request.pointers {
        reader.pointers(address)?;
    }
    if let Some(address) = request.record {
        reader.record("-xr", address)?;
    }
    if let Some(address) = request.context {
        reader.context("-xc", address)?;
    }
    Ok(reader.told)
}

struct Reader<'a> {
    snapshot: &'a dyn ProcessSnapshot,
    words: Words,
    told: Told,
}

impl Reader<'_> {
    fn memory(&self) -> &dyn Memory {
        self.snapshot.memory()
    }

    /// `JIT_DEBUG_INFO`, 40 bytes on all processors: size, processor, thread, reserved; then as 64-bit numbers the
    /// addresses of the exception, of its record and of its CONTEXT.
    fn jit_debug_info(&mut self, address: VirtAddr) -> Result<(), Lack> {
        const OPTION: &str = "-j";
        const SIZE: usize = 40;
        let bytes =
            read_array::<SIZE>(self.memory(), address)?.ok_or_else(|| absent(OPTION, "JIT_DEBUG_INFO", address))?;
        let words_32 = Words { size: 4, ..self.words };
        let words_64 = Words { size: 8, ..self.words };
        let (size, processor, thread) = (
            words_32.decode(&bytes),
            words_32.decode(&bytes[4..]),
            words_32.decode(&bytes[8..]),
        );
        if size < SIZE as u64 {
            let message =
                format!("there is no JIT_DEBUG_INFO at {address}: it would begin with its size, 40, not {size}");
            return Err(Lack::Refused(OPTION, message));
        }
        let described = ProcessorArchitecture(u16::try_from(processor).unwrap_or(u16::MAX));
        if described != self.snapshot.architecture() {
            let own = self.snapshot.architecture();
            let message = format!(
                "the JIT_DEBUG_INFO at {address} tells of registers of {described}, the source has those of {own}"
            );
            return Err(Lack::Refused(OPTION, message));
        }
        self.told.keep(address, SIZE);
        self.told.thread = u32::try_from(thread).ok();
        let [at, record, context] = [16, 24, 32].map(|offset| words_64.decode(&bytes[offset..]));
        if record != 0 {
            self.record(OPTION, VirtAddr(record))?;
        } else {
            self.told.exception = Some(Exception::Record(ExceptionStream {
                exception_code: BREAKPOINT.into(),
                exception_address: at.into(),
                ..ExceptionStream::default()
            }));
        }
        if context != 0 {
            self.context(OPTION, VirtAddr(context))?;
        }
        Ok(())
    }

    /// `EXCEPTION_POINTERS`: two pointers.
    fn pointers(&mut self, address: VirtAddr) -> Result<(), Lack> {
        const OPTION: &str = "-xp";
        let word = self.words.size;
        let record = self.words.read(self.memory(), address)?;
        let context = self.words.read(self.memory(), address.saturating_add(word as u64))?;
        let (Some(record), Some(context)) = (record, context) else {
            return Err(absent(OPTION, "EXCEPTION_POINTERS", address));
        };
        if record == 0 && context == 0 {
            return Err(Lack::Refused(
                OPTION,
                format!("the EXCEPTION_POINTERS at {address} lead nowhere: both are zero"),
            ));
        }
        self.told.keep(address, 2 * word);
        if record != 0 {
            self.record(OPTION, VirtAddr(record))?;
        }
        if context != 0 {
            self.context(OPTION, VirtAddr(context))?;
        }
        Ok(())
    }

    /// `EXCEPTION_RECORD`: code, flags; as pointers a chained record and the address; the number of parameters, and as
    /// many words. Parameters that it does not have need not be there.
    fn record(&mut self, option: &'static str, address: VirtAddr) -> Result<(), Lack> {
        let word = self.words.size;
        let words_32 = Words { size: 4, ..self.words };
        let count_at = 8 + 2 * word;
        let parameters_at = (count_at + 4).next_multiple_of(word);
        let mut bytes = vec![0; parameters_at + word * EXCEPTION_MAXIMUM_PARAMETERS as usize];
        let there = self.memory().read(address, &mut bytes)?;
        let count = words_32
            .decode(&bytes[count_at..])
            .min(u64::from(EXCEPTION_MAXIMUM_PARAMETERS));
        let count = usize::try_from(count).unwrap_or(0);
        let size = parameters_at + word * count;
        if there < size {
            return Err(absent(option, "EXCEPTION_RECORD", address));
        }
        self.told.keep(address, size);
        let number = |at: usize| u32::try_from(words_32.decode(&bytes[at..])).unwrap_or(0);
        let mut record = ExceptionStream {
            exception_code: number(0).into(),
            exception_flags: number(4).into(),
            exception_record: self.words.decode(&bytes[8..]).into(),
            exception_address: self.words.decode(&bytes[8 + word..]).into(),
            number_parameters: u32::try_from(count).unwrap_or(0).into(),
            ..ExceptionStream::default()
        };
        let parameters = bytes[parameters_at..].chunks_exact(word).take(count);
        for (place, parameter) in record.exception_information.iter_mut().zip(parameters) {
            *place = self.words.decode(parameter).into();
        }
        self.told.exception = Some(Exception::Record(record));
        Ok(())
    }

    /// `CONTEXT`, and the extended state behind it where there is some.
    fn context(&mut self, option: &'static str, address: VirtAddr) -> Result<(), Lack> {
        let (architecture, endian) = (self.snapshot.architecture(), self.snapshot.endian());
        let Some((kind, id)) =
            ContextKind::of_architecture(architecture).and_then(|kind| Some((kind, windows_id(kind)?)))
        else {
            let message = format!("Windows has no CONTEXT of {architecture}");
            return Err(Lack::Refused(option, message));
        };
        let base = kind.base_size();
        let mut bytes = vec![0; base];
        if self.memory().read(address, &mut bytes)? < base {
            return Err(absent(option, "CONTEXT", address));
        }
        let flags = kind.flags_of(&bytes, endian).unwrap_or_default();
        if !flags.contains(id) {
            let message = format!(
                "there is no CONTEXT of {architecture} at {address}: its flags are {:#x}",
                flags.0
            );
            return Err(Lack::Refused(option, message));
        }
        if flags.0 & kind.xstate_bit() != 0 {
            bytes.extend(self.extension(address.saturating_add(base as u64), endian)?);
        }
        self.told.keep(address, bytes.len());
        self.told.context = Some(bytes);
        Ok(())
    }

    /// What follows a CONTEXT, as far as its `CONTEXT_EX` says that it goes and it is there.
    fn extension(&self, address: VirtAddr, endian: Endian) -> Result<Vec<u8>, Error> {
        let Some(chunks) = read_array::<{ ContextEx::SIZE }>(self.memory(), address)? else {
            return Ok(Vec::new());
        };
        let area = ContextEx::read(&chunks, endian).unwrap_or_default().xstate;
        let end = u32::try_from(area.offset.get())
            .ok()
            .and_then(|start| start.checked_add(area.length.get()));
        let size = end
            .filter(|end| *end <= MAX_EXTENSION)
            .and_then(|end| usize::try_from(end).ok());
        let mut bytes = vec![0; size.unwrap_or(0)];
        let there = self.memory().read(address, &mut bytes)?;
        bytes.truncate(there);
        Ok(bytes)
    }
}

/// The bit by which the flags name the processor, where Windows runs on it.
const fn windows_id(kind: ContextKind) -> Option<ContextFlags> {
    Some(match kind {
        ContextKind::X86 => ContextFlags::X86,
        ContextKind::Amd64 => ContextFlags::AMD64,
        ContextKind::Arm => ContextFlags::ARM,
        ContextKind::Arm64 => ContextFlags::ARM64,
        _ => return None,
    })
}

fn absent(option: &'static str, what: &str, address: VirtAddr) -> Lack {
    Lack::Refused(
        option,
        format!("the source lacks memory at {address}, where the {what} should be"),
    )
}
