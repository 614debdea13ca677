//! `TRIAGE_DUMP32` and `TRIAGE_DUMP64`: the record behind the header that says where each section is.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::sign_extended;
use crate::addr::VirtAddr;
use crate::record::record;

record! {
    /// `TRIAGE_DUMP32`, 0x68 bytes. The offsets are those of dumps of Windows XP, as rizin has them too; fields of
    /// Itanium's second stack, which the 64-bit record has, are not in it.
    pub struct TriageDump32[0x68] {
        /// Low word of `CmNtCSDVersion`: 0x200 is service pack 2.
        pub service_pack_build: U32,
        /// Bytes from the start of the file to the end of the valid marker: where secondary data starts.
        pub size_of_dump: U32,
        /// The valid marker.
        pub valid_offset: U32,
        /// The `CONTEXT`, in the header.
        pub context_offset: U32,
        /// The exception record, in the header.
        pub exception_offset: U32,
        /// [`MmStorage32`](super::mm_storage::MmStorage32).
        pub mm_offset: U32,
        /// Unloaded drivers.
        pub unloaded_drivers_offset: U32,
        /// Copy of the `KPRCB`.
        pub prcb_offset: U32,
        /// Copy of the `EPROCESS`.
        pub process_offset: U32,
        /// Copy of the `ETHREAD`.
        pub thread_offset: U32,
        /// The stack of the processor that stopped.
        pub call_stack_offset: U32,
        /// Its size in bytes.
        pub size_of_call_stack: U32,
        /// The driver list.
        pub driver_list_offset: U32,
        /// How many drivers it has.
        pub driver_count: U32,
        /// The names of the drivers.
        pub string_pool_offset: U32,
        /// Their size in bytes.
        pub string_pool_size: U32,
        /// Unused.
        pub broken_driver_offset: U32,
        /// 0x41 in dumps that the kernel wrote; all bits set in those that were made from bigger ones.
        pub triage_options: U32,
        /// The lowest address of the stack, in spite of its name.
        pub top_of_stack: U32,
        /// Address of the single page of data of old dumps.
        pub data_page_address: U32,
        /// Where that page is.
        pub data_page_offset: U32,
        /// Its size in bytes.
        pub data_page_size: U32,
        /// Copy of the `KDDEBUGGER_DATA64`.
        pub debugger_data_offset: U32,
        /// Its size in bytes.
        pub debugger_data_size: U32,
        /// Table of [`TriageDataBlock`](super::data_blocks::TriageDataBlock).
        pub data_blocks_offset: U32,
        /// How many there are.
        pub data_blocks_count: U32,
    }

    /// `TRIAGE_DUMP64`, 0x80 bytes.
    pub struct TriageDump64[0x80] {
        /// Low word of `CmNtCSDVersion`: 0x200 is service pack 2.
        pub service_pack_build: U32,
        /// Bytes from the start of the file to the end of the valid marker: where secondary data starts.
        pub size_of_dump: U32,
        /// The valid marker.
        pub valid_offset: U32,
        /// The `CONTEXT`, in the header.
        pub context_offset: U32,
        /// The exception record, in the header.
        pub exception_offset: U32,
        /// [`MmStorage64`](super::mm_storage::MmStorage64).
        pub mm_offset: U32,
        /// Unloaded drivers.
        pub unloaded_drivers_offset: U32,
        /// Copy of the `KPRCB`.
        pub prcb_offset: U32,
        /// Copy of the `EPROCESS`.
        pub process_offset: U32,
        /// Copy of the `ETHREAD`.
        pub thread_offset: U32,
        /// The stack of the processor that stopped.
        pub call_stack_offset: U32,
        /// Its size in bytes.
        pub size_of_call_stack: U32,
        /// The driver list.
        pub driver_list_offset: U32,
        /// How many drivers it has.
        pub driver_count: U32,
        /// The names of the drivers.
        pub string_pool_offset: U32,
        /// Their size in bytes.
        pub string_pool_size: U32,
        /// Unused.
        pub broken_driver_offset: U32,
        /// 0x41 in dumps that the kernel wrote; all bits set in those that were made from bigger ones.
        pub triage_options: U32,
        /// The lowest address of the stack, in spite of its name.
        pub top_of_stack: U64,
        /// Itanium's second stack.
        pub backing_store_offset: U32,
        /// Its size in bytes.
        pub size_of_backing_store: U32,
        /// Its upper end.
        pub limit_of_backing_store: U64,
        /// Address of the single page of data of old dumps.
        pub data_page_address: U64,
        /// Where that page is.
        pub data_page_offset: U32,
        /// Its size in bytes.
        pub data_page_size: U32,
        /// Copy of the `KDDEBUGGER_DATA64`.
        pub debugger_data_offset: U32,
        /// Its size in bytes.
        pub debugger_data_size: U32,
        /// Table of [`TriageDataBlock`](super::data_blocks::TriageDataBlock).
        pub data_blocks_offset: U32,
        /// How many there are.
        pub data_blocks_count: U32,
    }
}

/// What both records say. Offsets are from the start of the file, zero where a section is absent; sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriageFields {
    /// Low word of `CmNtCSDVersion`: 0x200 is service pack 2.
    pub service_pack_build: u32,
    /// Where the primary data ends and secondary data starts.
    pub size_of_dump: u32,
    /// The valid marker.
    pub valid_offset: u32,
    /// The `CONTEXT`.
    pub context_offset: u32,
    /// The exception record.
    pub exception_offset: u32,
    /// `DUMP_MM_STORAGE`.
    pub mm_offset: u32,
    /// Unloaded drivers.
    pub unloaded_drivers_offset: u32,
    /// Copy of the `KPRCB`.
    pub prcb_offset: u32,
    /// Copy of the `EPROCESS`.
    pub process_offset: u32,
    /// Copy of the `ETHREAD`.
    pub thread_offset: u32,
    /// The stack of the processor that stopped.
    pub call_stack_offset: u32,
    /// Its size.
    pub size_of_call_stack: u32,
    /// The driver list.
    pub driver_list_offset: u32,
    /// How many drivers it has.
    pub driver_count: u32,
    /// The names of the drivers.
    pub string_pool_offset: u32,
    /// Their size.
    pub string_pool_size: u32,
    /// Unused.
    pub broken_driver_offset: u32,
    /// See [`TriageFamily`](super::TriageFamily).
    pub triage_options: u32,
    /// The lowest address of the stack.
    pub top_of_stack: VirtAddr,
    /// Itanium's second stack: offset, size and upper end. Absent in the 32-bit record.
    pub backing_store: (u32, u32, u64),
    /// Address of the single page of data of old dumps.
    pub data_page_address: VirtAddr,
    /// Where that page is.
    pub data_page_offset: u32,
    /// Its size.
    pub data_page_size: u32,
    /// Copy of the `KDDEBUGGER_DATA64`.
    pub debugger_data_offset: u32,
    /// Its size.
    pub debugger_data_size: u32,
    /// The table of data blocks.
    pub data_blocks_offset: u32,
    /// How many there are.
    pub data_blocks_count: u32,
}

/// The fields that have the same name and width in both records and in [`TriageFields`].
macro_rules! copied {
    ($from:expr => $into:ident { $($rest:tt)* }) => {
        $into {
            service_pack_build: $from.service_pack_build.into(),
            size_of_dump: $from.size_of_dump.into(),
            valid_offset: $from.valid_offset.into(),
            context_offset: $from.context_offset.into(),
            exception_offset: $from.exception_offset.into(),
            mm_offset: $from.mm_offset.into(),
            unloaded_drivers_offset: $from.unloaded_drivers_offset.into(),
            prcb_offset: $from.prcb_offset.into(),
            process_offset: $from.process_offset.into(),
            thread_offset: $from.thread_offset.into(),
            call_stack_offset: $from.call_stack_offset.into(),
            size_of_call_stack: $from.size_of_call_stack.into(),
            driver_list_offset: $from.driver_list_offset.into(),
            driver_count: $from.driver_count.into(),
            string_pool_offset: $from.string_pool_offset.into(),
            string_pool_size: $from.string_pool_size.into(),
            broken_driver_offset: $from.broken_driver_offset.into(),
            triage_options: $from.triage_options.into(),
            data_page_offset: $from.data_page_offset.into(),
            data_page_size: $from.data_page_size.into(),
            debugger_data_offset: $from.debugger_data_offset.into(),
            debugger_data_size: $from.debugger_data_size.into(),
            data_blocks_offset: $from.data_blocks_offset.into(),
            data_blocks_count: $from.data_blocks_count.into(),
            $($rest)*
        }
    };
}

impl From<&TriageDump32> for TriageFields {
    fn from(record: &TriageDump32) -> Self {
        copied!(record => Self {
            top_of_stack: VirtAddr(record.top_of_stack.get().into()),
            data_page_address: VirtAddr(record.data_page_address.get().into()),
            backing_store: (0, 0, 0),
        })
    }
}

impl From<&TriageDump64> for TriageFields {
    fn from(record: &TriageDump64) -> Self {
        copied!(record => Self {
            top_of_stack: VirtAddr(record.top_of_stack.get()),
            data_page_address: VirtAddr(record.data_page_address.get()),
            backing_store: (
                record.backing_store_offset.get(),
                record.size_of_backing_store.get(),
                record.limit_of_backing_store.get(),
            ),
        })
    }
}

impl From<&TriageFields> for TriageDump32 {
    /// Addresses keep their low 32 bits.
    fn from(fields: &TriageFields) -> Self {
        copied!(fields => Self {
            top_of_stack: sign_extended::low_half(fields.top_of_stack.0).into(),
            data_page_address: sign_extended::low_half(fields.data_page_address.0).into(),
        })
    }
}

impl From<&TriageFields> for TriageDump64 {
    fn from(fields: &TriageFields) -> Self {
        let (offset, size, limit) = fields.backing_store;
        copied!(fields => Self {
            top_of_stack: fields.top_of_stack.0.into(),
            data_page_address: fields.data_page_address.0.into(),
            backing_store_offset: offset.into(),
            size_of_backing_store: size.into(),
            limit_of_backing_store: limit.into(),
        })
    }
}
