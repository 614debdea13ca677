//! The auxiliary vector of a process.

use dotdump_format::minidump::linux_auxv::{AuxvType, WordSize};

/// The most entries that are looked at; the kernel writes some twenty.
const MAX_ENTRIES: usize = 1024;

/// The entries of the vector, up to its `AT_NULL`.
pub(super) struct Auxv {
    pub(super) word: WordSize,
    entries: Vec<(AuxvType, u64)>,
}

impl Auxv {
    /// Reads the bytes of `/proc/PID/auxv`: little-endian words.
    pub(super) fn parse(bytes: &[u8], word: WordSize) -> Self {
        let size = word.bytes();
        let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let entries = bytes
            .chunks_exact(2 * size)
            .take(MAX_ENTRIES)
            .map(|pair| (AuxvType(value(&pair[..size])), value(&pair[size..])))
            .take_while(|(entry, _)| *entry != AuxvType::NULL)
            .collect();
        Self { word, entries }
    }

    /// The value of the first entry of a type; zeros, which stand for "none" in all types that are asked for, are none.
    pub(super) fn value(&self, entry: AuxvType) -> Option<u64> {
        let found = self.entries.iter().find(|(kind, _)| *kind == entry);
        found.map(|(_, value)| *value).filter(|value| *value != 0)
    }
}
