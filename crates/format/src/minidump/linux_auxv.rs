//! `MD_LINUX_AUXV` (0x47670008): what the kernel told the program when it started it, as `/proc/PID/auxv` had it.

use alloc::vec::Vec;

use super::held::place_bytes;
use super::list::MAX_ENTRIES;
use super::system_info::ProcessorArchitecture;
use super::{LocationDescriptor, Stream, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::Endian;

/// How long a word of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WordSize {
    /// 32 bits.
    Four,
    /// 64 bits.
    Eight,
}

impl WordSize {
    /// The size of a word in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    fn read(self, word: &[u8], endian: Endian) -> u64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        match endian {
            Endian::Little => word.iter().rev().fold(0, fold),
            Endian::Big => word.iter().fold(0, fold),
        }
    }

    fn push(self, value: u64, endian: Endian, bytes: &mut Vec<u8>) -> Result<(), Error> {
        match (self, endian) {
            (Self::Eight, Endian::Little) => bytes.extend(value.to_le_bytes()),
            (Self::Eight, Endian::Big) => bytes.extend(value.to_be_bytes()),
            (Self::Four, endian) => {
                let value = u32::try_from(value).map_err(|_| Error::TooLarge {
                    what: "LinuxAuxv".into(),
                    value,
                    limit: u64::from(u32::MAX),
                })?;
                bytes.extend(match endian {
                    Endian::Little => value.to_le_bytes(),
                    Endian::Big => value.to_be_bytes(),
                });
            }
        }
        Ok(())
    }
}

impl From<ProcessorArchitecture> for WordSize {
    fn from(architecture: ProcessorArchitecture) -> Self {
        match architecture.pointer_size() {
            8 => Self::Eight,
            _ => Self::Four,
        }
    }
}

/// The type of an entry (`AT_*` in `elf.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuxvType(pub u64);

/// Lists each type once: constant, number, and what it holds.
macro_rules! auxv_types {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
        impl AuxvType {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// Its name in `elf.h`; `None` for a number that is not known.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

auxv_types! {
    /// The end of the vector.
    NULL = 0, "AT_NULL";
    /// An entry to pass over.
    IGNORE = 1, "AT_IGNORE";
    /// File descriptor of the program.
    EXECFD = 2, "AT_EXECFD";
    /// Address of the program headers.
    PHDR = 3, "AT_PHDR";
    /// Size of a program header.
    PHENT = 4, "AT_PHENT";
    /// Number of program headers.
    PHNUM = 5, "AT_PHNUM";
    /// Size of a page in bytes.
    PAGESZ = 6, "AT_PAGESZ";
    /// Address at which the dynamic linker was loaded.
    BASE = 7, "AT_BASE";
    /// Flags.
    FLAGS = 8, "AT_FLAGS";
    /// Entry point of the program.
    ENTRY = 9, "AT_ENTRY";
    /// Whether the program is no ELF file.
    NOTELF = 10, "AT_NOTELF";
    /// User.
    UID = 11, "AT_UID";
    /// Effective user.
    EUID = 12, "AT_EUID";
    /// Group.
    GID = 13, "AT_GID";
    /// Effective group.
    EGID = 14, "AT_EGID";
    /// Address of the name of the processor.
    PLATFORM = 15, "AT_PLATFORM";
    /// Bits of the processor's features.
    HWCAP = 16, "AT_HWCAP";
    /// Ticks of `times` in a second.
    CLKTCK = 17, "AT_CLKTCK";
    /// Whether the program runs with rights that its user does not have.
    SECURE = 23, "AT_SECURE";
    /// Address of the name of the processor that the program should assume.
    BASE_PLATFORM = 24, "AT_BASE_PLATFORM";
    /// Address of 16 random bytes.
    RANDOM = 25, "AT_RANDOM";
    /// More bits of the processor's features.
    HWCAP2 = 26, "AT_HWCAP2";
    /// Size of the kernel's restartable sequences.
    RSEQ_FEATURE_SIZE = 27, "AT_RSEQ_FEATURE_SIZE";
    /// Alignment of the kernel's restartable sequences.
    RSEQ_ALIGN = 28, "AT_RSEQ_ALIGN";
    /// Address of the path by which the program was started.
    EXECFN = 31, "AT_EXECFN";
    /// Address of the kernel's entry point in the vDSO (x86).
    SYSINFO = 32, "AT_SYSINFO";
    /// Address of the vDSO.
    SYSINFO_EHDR = 33, "AT_SYSINFO_EHDR";
    /// The least stack that a signal needs.
    MINSIGSTKSZ = 51, "AT_MINSIGSTKSZ";
}

/// The entries of a LinuxAuxv stream, without the `AT_NULL` that ends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxAuxv {
    /// How long a word of the process is.
    pub word: WordSize,
    /// Types and values, in file order.
    pub entries: Vec<(AuxvType, u64)>,
}

impl LinuxAuxv {
    /// Reads it. The stream does not say how long its words are: that follows from the
    /// [`ProcessorArchitecture`] of the process.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_ENTRIES`] entries; [`Error::Read`] where the medium fails.
    pub fn read(stream: &Stream<'_>, word: WordSize, findings: &mut Findings) -> Result<Self, Error> {
        let size = word.bytes();
        let bytes = stream.bytes(MAX_ENTRIES * 2 * size as u64)?;
        let pairs = bytes.chunks_exact(2 * size);
        if !pairs.remainder().is_empty() {
            let message = alloc::format!("{} bytes, a multiple of {} expected", bytes.len(), 2 * size);
            findings.add(stream.offset, "LinuxAuxv", message);
        }
        let value = |bytes| word.read(bytes, stream.endian);
        let entries = pairs
            .map(|pair| (AuxvType(value(&pair[..size])), value(&pair[size..])))
            .take_while(|(entry, _)| *entry != AuxvType::NULL)
            .collect();
        Ok(Self { word, entries })
    }

    /// The value of the first entry of a type.
    #[must_use]
    pub fn value(&self, entry: AuxvType) -> Option<u64> {
        self.entries
            .iter()
            .find_map(|(found, value)| (*found == entry).then_some(*value))
    }
}

impl WriteStream for LinuxAuxv {
    fn stream_type(&self) -> StreamType {
        StreamType::LINUX_AUXV
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let mut bytes = Vec::new();
        for (entry, value) in self.entries.iter().chain(&[(AuxvType::NULL, 0)]) {
            self.word.push(entry.0, layout.endian(), &mut bytes)?;
            self.word.push(*value, layout.endian(), &mut bytes)?;
        }
        place_bytes(layout, &bytes, "LinuxAuxv")
    }
}

#[cfg(test)]
mod tests {
    use super::super::third_party_tests::{RawStream, assert_round_trip_by, file_with, read_stream, words};
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn read_gives_what_was_written(
            pairs in prop::collection::vec((1_u32.., any::<u64>()), 0..40),
            long in any::<bool>(),
        ) {
            let word = if long { WordSize::Eight } else { WordSize::Four };
            let fit = |value| if long { value } else { value & 0xFFFF_FFFF };
            let entries = pairs.into_iter().map(|(entry, value)| (AuxvType(entry.into()), fit(value))).collect();
            let auxv = LinuxAuxv { word, entries };
            assert_round_trip_by(&auxv, |stream, findings| LinuxAuxv::read(stream, word, findings));
        }
    }

    #[test]
    fn known_words_up_to_the_end_mark() {
        let bytes = words(&[6, 4096, 33, 0xB77D_8000, 0, 0, 6, 1, 7]);
        let raw = RawStream {
            stream_type: StreamType::LINUX_AUXV,
            bytes: &bytes,
            behind: &[],
        };
        let file = file_with(Endian::Little, &raw);
        let (auxv, findings) = read_stream(&file, |stream, findings| {
            LinuxAuxv::read(stream, ProcessorArchitecture::X86.into(), findings)
        });
        let auxv = auxv.unwrap();
        assert_eq!(auxv.value(AuxvType::PAGESZ), Some(4096));
        assert_eq!(auxv.value(AuxvType::SYSINFO_EHDR), Some(0xB77D_8000));
        assert_eq!(auxv.value(AuxvType::RANDOM), None);
        assert_eq!((auxv.entries.len(), findings.total()), (2, 1));
    }

    #[test]
    fn a_long_value_does_not_fit_a_short_word() {
        let auxv = LinuxAuxv {
            word: WordSize::Four,
            entries: vec![(AuxvType::ENTRY, 1 << 32)],
        };
        let written = auxv.write(&mut Layout::new(Endian::Little));
        assert!(matches!(written, Err(Error::TooLarge { .. })));
    }
}
