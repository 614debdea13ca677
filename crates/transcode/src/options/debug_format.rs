//! `DEBUG_FORMAT_*`: what a debugger extension passes to `IDebugClient2::WriteDumpFile2`.

use std::fmt;

bitflags::bitflags! {
    /// `DEBUG_FORMAT_*` (`dbgeng.h`). Bits without a name are kept.
    ///
    /// The value `0x1000_0000` has two names in that header: with [`DebugFormat::WRITE_CAB`] it asks for all
    /// images in the CAB (`DEBUG_FORMAT_CAB_SECONDARY_ALL_IMAGES`), without it for
    /// [`DebugFormat::SCAN_PARTIAL_PAGES`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct DebugFormat: u32 {
        /// All accessible memory.
        const FULL_MEMORY = 0x1;
        /// Handles.
        const HANDLE_DATA = 0x2;
        /// Unloaded modules.
        const UNLOADED_MODULES = 0x4;
        /// Memory that stacks point to.
        const INDIRECT_MEMORY = 0x8;
        /// Writable sections of modules.
        const DATA_SEGMENTS = 0x10;
        /// Stacks without anything but what a stack walk needs.
        const FILTER_MEMORY = 0x20;
        /// Module names without their folders.
        const FILTER_PATHS = 0x40;
        /// Process and thread environment blocks.
        const PROCESS_THREAD_DATA = 0x80;
        /// Private read-write pages.
        const PRIVATE_READ_WRITE_MEMORY = 0x100;
        /// Nothing optional (privacy).
        const NO_OPTIONAL_DATA = 0x200;
        /// The map of the whole address space.
        const FULL_MEMORY_INFO = 0x400;
        /// Times, start addresses and affinity of threads.
        const THREAD_INFO = 0x800;
        /// Code sections of modules.
        const CODE_SEGMENTS = 0x1000;
        /// Nothing from auxiliary providers.
        const NO_AUXILIARY_STATE = 0x2000;
        /// Everything that auxiliary providers have.
        const FULL_AUXILIARY_STATE = 0x4000;
        /// PE headers of modules.
        const MODULE_HEADERS = 0x8000;
        /// The filter for triage dumps.
        const FILTER_TRIAGE = 0x1_0000;
        /// Extended processor state in the contexts.
        const ADD_AVX_XSTATE_CONTEXT = 0x2_0000;
        /// Intel Processor Trace buffers.
        const IPT_TRACE = 0x4_0000;
        /// Unreadable memory is an error.
        const NO_IGNORE_INACCESSIBLE_MEM = 0x400_0000;
        /// Unreadable memory is skipped.
        const IGNORE_INACCESSIBLE_MEM = 0x800_0000;
        /// Readable parts of partly unreadable regions; has a second meaning with `WRITE_CAB`.
        const SCAN_PARTIAL_PAGES = 0x1000_0000;
        /// Put the dump in a CAB.
        const WRITE_CAB = 0x2000_0000;
        /// Put symbols and images in the CAB as well.
        const CAB_SECONDARY_FILES = 0x4000_0000;
        /// Fail where the file exists.
        const NO_OVERWRITE = 0x8000_0000;

        const _ = !0;
    }
}

impl fmt::Display for DebugFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(self, f)
    }
}
