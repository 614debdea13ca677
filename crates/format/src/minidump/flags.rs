//! `MINIDUMP_TYPE`: what a dump was asked to contain.

use alloc::string::String;
use alloc::vec::Vec;

bitflags::bitflags! {
    /// `MINIDUMP_TYPE` (`minidumpapiset.h`): the flags in the header. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MiniDumpType: u64 {
        /// Writable sections of all modules.
        const WITH_DATA_SEGS = 0x1;
        /// All accessible memory, in a Memory64List.
        const WITH_FULL_MEMORY = 0x2;
        /// Handles.
        const WITH_HANDLE_DATA = 0x4;
        /// Stack memory without anything but what a stack walk needs.
        const FILTER_MEMORY = 0x8;
        /// Modules that no stack refers to were told apart.
        const SCAN_MEMORY = 0x10;
        /// The list of unloaded modules.
        const WITH_UNLOADED_MODULES = 0x20;
        /// Memory that stacks point to.
        const WITH_INDIRECTLY_REFERENCED_MEMORY = 0x40;
        /// Module names without their folders.
        const FILTER_MODULE_PATHS = 0x80;
        /// Process and thread environment blocks and what they lead to.
        const WITH_PROCESS_THREAD_DATA = 0x100;
        /// Private read-write pages.
        const WITH_PRIVATE_READ_WRITE_MEMORY = 0x200;
        /// Nothing optional (privacy).
        const WITHOUT_OPTIONAL_DATA = 0x400;
        /// The map of the whole address space.
        const WITH_FULL_MEMORY_INFO = 0x800;
        /// Times, start addresses and affinity of threads.
        const WITH_THREAD_INFO = 0x1000;
        /// Code sections of all modules.
        const WITH_CODE_SEGS = 0x2000;
        /// No data from auxiliary providers such as managed runtimes.
        const WITHOUT_AUXILIARY_STATE = 0x4000;
        /// Everything that auxiliary providers have.
        const WITH_FULL_AUXILIARY_STATE = 0x8000;
        /// Private copies of write-copy pages.
        const WITH_PRIVATE_WRITE_COPY_MEMORY = 0x1_0000;
        /// Unreadable memory was skipped.
        const IGNORE_INACCESSIBLE_MEMORY = 0x2_0000;
        /// Security tokens.
        const WITH_TOKEN_INFORMATION = 0x4_0000;
        /// PE headers of all modules.
        const WITH_MODULE_HEADERS = 0x8_0000;
        /// The filter for triage dumps.
        const FILTER_TRIAGE = 0x10_0000;
        /// Extended processor state (AVX and later) in the contexts.
        const WITH_AVX_XSTATE_CONTEXT = 0x20_0000;
        /// Intel Processor Trace buffers.
        const WITH_IPT_TRACE = 0x40_0000;
        /// Readable parts of partly unreadable regions.
        const SCAN_INACCESSIBLE_PARTIAL_PAGES = 0x80_0000;
        /// No write-combined memory.
        const FILTER_WRITE_COMBINED_MEMORY = 0x100_0000;
        /// Unreadable memory is an error.
        const NO_IGNORE_INACCESSIBLE_MEMORY = 0x200_0000;
        /// Memory in a compressed stream.
        const WITH_MEMORY_COMPRESSED = 0x400_0000;

        const _ = !0;
    }
}

impl MiniDumpType {
    /// The flags by the names that the Windows headers have for them. Bits without a name come last, as one number.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let mut rest = self.bits();
        let mut names = Vec::new();
        for (name, flag) in self.iter_names() {
            names.push(header_name(name));
            rest &= !flag.bits();
        }
        if rest != 0 {
            names.push(alloc::format!("{rest:#x}"));
        }
        names
    }
}

/// `WITH_FULL_MEMORY` as `MiniDumpWithFullMemory`.
fn header_name(constant: &str) -> String {
    let mut name = String::from("MiniDump");
    for word in constant.split('_') {
        // The one word with a capital letter in its middle.
        if word == "XSTATE" {
            name.push_str("XState");
            continue;
        }
        let (first, rest) = word.split_at(1);
        name.push_str(first);
        name.push_str(&rest.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_spelled_as_in_the_windows_headers() {
        let some = MiniDumpType::WITH_FULL_MEMORY
            | MiniDumpType::IGNORE_INACCESSIBLE_MEMORY
            | MiniDumpType::WITH_AVX_XSTATE_CONTEXT;
        let some = MiniDumpType::from_bits_retain(some.bits() | 1 << 40);
        assert_eq!(
            some.names(),
            [
                "MiniDumpWithFullMemory",
                "MiniDumpIgnoreInaccessibleMemory",
                "MiniDumpWithAvxXStateContext",
                "0x10000000000"
            ]
        );
        assert!(MiniDumpType::empty().names().is_empty());
    }
}
