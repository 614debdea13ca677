//! The fields of `KDDEBUGGER_DATA64`, in one list: the record, the table of fields, and the accessors.

use core::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::DebuggerData;
use crate::addr::VirtAddr;
use crate::record::record;

/// What a field of the block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// The address of the thing that the field is named for: an array, a structure, a list head, a function.
    Object,
    /// The address of the variable that the field is named for, which holds a pointer or a number.
    Variable,
    /// A number.
    Value,
    /// An offset within a structure of the kernel, or the size of one; 0 where it is not provided.
    Offset,
    /// Nothing.
    Unused,
}

/// A field of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the Windows headers.
    pub name: &'static str,
    /// Where it starts in the block, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// What it is.
    pub kind: FieldKind,
}

/// Defines the record, the table of its fields and the accessors in one list.
macro_rules! block {
    ($($(#[$doc:meta])* $kind:ident $field:ident: $type:ty = $name:literal,)*) => {
        record! {
            /// `KDDEBUGGER_DATA64` (`wdbgexts.h`), 0x3A0 bytes in its newest published form.
            pub struct KdDebuggerData64[0x3A0] {
                /// Links to the list of such blocks: `LIST_ENTRY64`, or in raw memory of 32-bit Windows a `LIST_ENTRY32`
                /// and eight bytes of nothing.
                pub list: [U64; 2],
                /// [`OWNER_TAG`](super::OWNER_TAG).
                pub owner_tag: [u8; 4],
                /// Size of the block in bytes.
                pub size: U32,
                $($(#[$doc])* pub $field: $type,)*
            }
        }

        /// All fields behind the block's header, in order.
        pub const FIELDS: &[Field] = &[
            $(Field {
                name: $name,
                offset: offset_of!(KdDebuggerData64, $field),
                size: size_of::<$type>(),
                kind: block!(@kind $kind),
            },)*
        ];

        impl DebuggerData {
            $(block!(@accessor $kind $(#[$doc])* $field);)*
        }
    };
    (@kind object) => { FieldKind::Object };
    (@kind variable) => { FieldKind::Variable };
    (@kind value) => { FieldKind::Value };
    (@kind offset) => { FieldKind::Offset };
    (@kind unused) => { FieldKind::Unused };
    (@accessor object $(#[$doc:meta])* $field:ident) => {
        $(#[$doc])*
        ///
        /// The address of the thing itself.
        #[must_use]
        pub fn $field(&self) -> Option<VirtAddr> {
            self.address(offset_of!(KdDebuggerData64, $field), self.record.$field)
        }
    };
    (@accessor variable $(#[$doc:meta])* $field:ident) => {
        $(#[$doc])*
        ///
        /// The address of the variable that holds it.
        #[must_use]
        pub fn $field(&self) -> Option<VirtAddr> {
            self.address(offset_of!(KdDebuggerData64, $field), self.record.$field)
        }
    };
    (@accessor value $(#[$doc:meta])* $field:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(&self) -> Option<u64> {
            self.number(offset_of!(KdDebuggerData64, $field), self.record.$field)
        }
    };
    (@accessor offset $(#[$doc:meta])* $field:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(&self) -> Option<u64> {
            self.number(offset_of!(KdDebuggerData64, $field), self.record.$field).filter(|offset| *offset != 0)
        }
    };
    (@accessor unused $(#[$doc:meta])* $field:ident) => {};
}

block! {
        /// Where the kernel's image starts.
        object kern_base: U64 = "KernBase",
        /// The function `DbgBreakPointWithStatus`.
        object breakpoint_with_status: U64 = "BreakpointWithStatus",
        /// A context that the debugger saved; only on old systems.
        object saved_context: U64 = "SavedContext",
        /// Offset of `CallbackStack` in `KTHREAD`.
        offset th_callback_stack: U16 = "ThCallbackStack",
        /// Offset of the next frame in a callback frame.
        offset next_callback: U16 = "NextCallback",
        /// Offset of the frame pointer in a callback frame.
        offset frame_pointer: U16 = "FramePointer",
        /// Bit 0: page tables of x86 have three levels (PAE). Others are of newer systems.
        value flags: U16 = "Flags",
        /// The function.
        object ki_call_user_mode: U64 = "KiCallUserMode",
        /// The user-mode function.
        variable ke_user_callback_dispatcher: U64 = "KeUserCallbackDispatcher",
        /// List head of loaded modules.
        object ps_loaded_module_list: U64 = "PsLoadedModuleList",
        /// List head of processes.
        object ps_active_process_head: U64 = "PsActiveProcessHead",
        /// The table of process and thread identifiers.
        variable psp_cid_table: U64 = "PspCidTable",
        /// List head of resources.
        object exp_system_resources_list: U64 = "ExpSystemResourcesList",
        /// Descriptors of paged pool.
        variable exp_paged_pool_descriptor: U64 = "ExpPagedPoolDescriptor",
        /// Their number.
        variable exp_number_of_paged_pools: U64 = "ExpNumberOfPagedPools",
        /// Time between two ticks, 100 ns.
        variable ke_time_increment: U64 = "KeTimeIncrement",
        /// List head of bugcheck callbacks.
        object ke_bug_check_callback_list_head: U64 = "KeBugCheckCallbackListHead",
        /// Five pointer-sized numbers: the bugcheck's code and parameters.
        object ki_bugcheck_data: U64 = "KiBugcheckData",
        /// List head of errors to log.
        object iop_error_log_list_head: U64 = "IopErrorLogListHead",
        /// The root of the object manager's names.
        variable obp_root_directory_object: U64 = "ObpRootDirectoryObject",
        /// The type of types.
        variable obp_type_object_type: U64 = "ObpTypeObjectType",
        /// Start of the system cache.
        variable mm_system_cache_start: U64 = "MmSystemCacheStart",
        /// End of the system cache.
        variable mm_system_cache_end: U64 = "MmSystemCacheEnd",
        /// Working set of the system cache.
        object mm_system_cache_ws: U64 = "MmSystemCacheWs",
        /// The PFN database.
        variable mm_pfn_database: U64 = "MmPfnDatabase",
        /// Start of system PTEs.
        variable mm_system_ptes_start: U64 = "MmSystemPtesStart",
        /// End of system PTEs.
        variable mm_system_ptes_end: U64 = "MmSystemPtesEnd",
        /// What subsection addresses of PTEs are relative to.
        variable mm_subsection_base: U64 = "MmSubsectionBase",
        /// Number of page files.
        variable mm_number_of_paging_files: U64 = "MmNumberOfPagingFiles",
        /// Lowest page of physical memory.
        variable mm_lowest_physical_page: U64 = "MmLowestPhysicalPage",
        /// Highest page of physical memory.
        variable mm_highest_physical_page: U64 = "MmHighestPhysicalPage",
        /// Pages of physical memory.
        variable mm_number_of_physical_pages: U64 = "MmNumberOfPhysicalPages",
        /// Limit of nonpaged pool.
        variable mm_maximum_non_paged_pool_in_bytes: U64 = "MmMaximumNonPagedPoolInBytes",
        /// Start of the nonpaged system.
        variable mm_non_paged_system_start: U64 = "MmNonPagedSystemStart",
        /// Start of nonpaged pool.
        variable mm_non_paged_pool_start: U64 = "MmNonPagedPoolStart",
        /// End of nonpaged pool.
        variable mm_non_paged_pool_end: U64 = "MmNonPagedPoolEnd",
        /// Start of paged pool.
        variable mm_paged_pool_start: U64 = "MmPagedPoolStart",
        /// End of paged pool.
        variable mm_paged_pool_end: U64 = "MmPagedPoolEnd",
        /// `MM_PAGED_POOL_INFO`.
        object mm_paged_pool_information: U64 = "MmPagedPoolInformation",
        /// Size of a page in bytes.
        value mm_page_size: U64 = "MmPageSize",
        /// Size of paged pool.
        variable mm_size_of_paged_pool_in_bytes: U64 = "MmSizeOfPagedPoolInBytes",
        /// Limit of committed pages.
        variable mm_total_commit_limit: U64 = "MmTotalCommitLimit",
        /// Committed pages.
        variable mm_total_committed_pages: U64 = "MmTotalCommittedPages",
        /// Of them, shared ones.
        variable mm_shared_commit: U64 = "MmSharedCommit",
        /// Of them, of drivers.
        variable mm_driver_commit: U64 = "MmDriverCommit",
        /// Of them, of processes.
        variable mm_process_commit: U64 = "MmProcessCommit",
        /// Of them, of paged pool.
        variable mm_paged_pool_commit: U64 = "MmPagedPoolCommit",
        /// Of them, extensions.
        variable mm_extended_commit: U64 = "MmExtendedCommit",
        /// Head of the list of zeroed pages.
        object mm_zeroed_page_list_head: U64 = "MmZeroedPageListHead",
        /// Head of the list of free pages.
        object mm_free_page_list_head: U64 = "MmFreePageListHead",
        /// Head of the list of standby pages.
        object mm_standby_page_list_head: U64 = "MmStandbyPageListHead",
        /// Head of the list of modified pages.
        object mm_modified_page_list_head: U64 = "MmModifiedPageListHead",
        /// Head of the list of modified pages that are not written.
        object mm_modified_no_write_page_list_head: U64 = "MmModifiedNoWritePageListHead",
        /// Available pages.
        variable mm_available_pages: U64 = "MmAvailablePages",
        /// Pages that may become resident.
        variable mm_resident_available_pages: U64 = "MmResidentAvailablePages",
        /// The table of pool tags.
        variable pool_track_table: U64 = "PoolTrackTable",
        /// The descriptor of nonpaged pool.
        object non_paged_pool_descriptor: U64 = "NonPagedPoolDescriptor",
        /// The highest address of user mode.
        variable mm_highest_user_address: U64 = "MmHighestUserAddress",
        /// The lowest address of the kernel.
        variable mm_system_range_start: U64 = "MmSystemRangeStart",
        /// The limit for probing user addresses.
        variable mm_user_probe_address: U64 = "MmUserProbeAddress",
        /// The buffer of debug output.
        object kd_print_circular_buffer: U64 = "KdPrintCircularBuffer",
        /// Its end.
        object kd_print_circular_buffer_end: U64 = "KdPrintCircularBufferEnd",
        /// Where it is written next.
        variable kd_print_write_pointer: U64 = "KdPrintWritePointer",
        /// How often it was full.
        variable kd_print_rollover_count: U64 = "KdPrintRolloverCount",
        /// List head of loaded user images.
        object mm_loaded_user_image_list: U64 = "MmLoadedUserImageList",
        /// Text: build number, branch, time.
        object nt_build_lab: U64 = "NtBuildLab",
        /// The function; Itanium only.
        object ki_normal_system_call: U64 = "KiNormalSystemCall",
        /// Pointers to the `KPRCB` of each processor.
        object ki_processor_block: U64 = "KiProcessorBlock",
        /// Unloaded drivers.
        variable mm_unloaded_drivers: U64 = "MmUnloadedDrivers",
        /// Index of the slot behind the newest of them.
        variable mm_last_unloaded_driver: U64 = "MmLastUnloadedDriver",
        /// What the memory manager did about damage.
        variable mm_triage_action_taken: U64 = "MmTriageActionTaken",
        /// Tag of pool that is checked.
        variable mm_special_pool_tag: U64 = "MmSpecialPoolTag",
        /// Whether drivers are verified.
        variable kernel_verifier: U64 = "KernelVerifier",
        /// `MM_DRIVER_VERIFIER_DATA`.
        object mm_verifier_data: U64 = "MmVerifierData",
        /// Nonpaged pool in use.
        variable mm_allocated_non_paged_pool: U64 = "MmAllocatedNonPagedPool",
        /// Peak of committed pages.
        variable mm_peak_commitment: U64 = "MmPeakCommitment",
        /// Highest limit of committed pages.
        variable mm_total_commit_limit_maximum: U64 = "MmTotalCommitLimitMaximum",
        /// Service pack.
        variable cm_nt_csd_version: U64 = "CmNtCSDVersion",
        /// `PHYSICAL_MEMORY_DESCRIPTOR`.
        variable mm_physical_memory_block: U64 = "MmPhysicalMemoryBlock",
        /// Start of session space.
        variable mm_session_base: U64 = "MmSessionBase",
        /// Size of session space.
        variable mm_session_size: U64 = "MmSessionSize",
        /// Page of the top-level table; Itanium only.
        variable mm_system_parent_table_page: U64 = "MmSystemParentTablePage",
        /// Where page tables are mapped, on systems that set it here.
        value mm_virtual_translation_base: U64 = "MmVirtualTranslationBase",
        /// Offset of `NextProcessor` in `KTHREAD`.
        offset offset_kthread_next_processor: U16 = "OffsetKThreadNextProcessor",
        /// Offset of `Teb` in `KTHREAD`.
        offset offset_kthread_teb: U16 = "OffsetKThreadTeb",
        /// Offset of `KernelStack` in `KTHREAD`.
        offset offset_kthread_kernel_stack: U16 = "OffsetKThreadKernelStack",
        /// Offset of `InitialStack` in `KTHREAD`.
        offset offset_kthread_initial_stack: U16 = "OffsetKThreadInitialStack",
        /// Offset of `ApcState.Process` in `KTHREAD`: the `EPROCESS` that it runs in.
        offset offset_kthread_apc_process: U16 = "OffsetKThreadApcProcess",
        /// Offset of `State` in `KTHREAD`.
        offset offset_kthread_state: U16 = "OffsetKThreadState",
        /// Offset of `BStore` in `KTHREAD`.
        offset offset_kthread_bstore: U16 = "OffsetKThreadBStore",
        /// Offset of `BStoreLimit` in `KTHREAD`.
        offset offset_kthread_bstore_limit: U16 = "OffsetKThreadBStoreLimit",
        /// Size in bytes of `EPROCESS`.
        offset size_eprocess: U16 = "SizeEProcess",
        /// Offset of `Peb` in `EPROCESS`.
        offset offset_eprocess_peb: U16 = "OffsetEprocessPeb",
        /// Offset of `InheritedFromUniqueProcessId` in `EPROCESS`.
        offset offset_eprocess_parent_cid: U16 = "OffsetEprocessParentCID",
        /// Offset of `DirectoryTableBase` in `EPROCESS`.
        offset offset_eprocess_directory_table_base: U16 = "OffsetEprocessDirectoryTableBase",
        /// Size in bytes of `KPRCB`.
        offset size_prcb: U16 = "SizePrcb",
        /// Offset of `DpcRoutine` in `KPRCB`.
        offset offset_prcb_dpc_routine: U16 = "OffsetPrcbDpcRoutine",
        /// Offset of `CurrentThread` in `KPRCB`.
        offset offset_prcb_current_thread: U16 = "OffsetPrcbCurrentThread",
        /// Offset of `Mhz` in `KPRCB`.
        offset offset_prcb_mhz: U16 = "OffsetPrcbMhz",
        /// Offset of `CpuType` in `KPRCB`.
        offset offset_prcb_cpu_type: U16 = "OffsetPrcbCpuType",
        /// Offset of `VendorString` in `KPRCB`.
        offset offset_prcb_vendor_string: U16 = "OffsetPrcbVendorString",
        /// Offset of `ProcessorState.ContextFrame` in `KPRCB`.
        offset offset_prcb_proc_state_context: U16 = "OffsetPrcbProcStateContext",
        /// Offset of `Number` in `KPRCB`.
        offset offset_prcb_number: U16 = "OffsetPrcbNumber",
        /// Size in bytes of `ETHREAD`.
        offset size_ethread: U16 = "SizeEThread",
        /// The bit of invalid PTEs that is inverted against L1 terminal fault; 0 for none.
        value l1tf_high_physical_bit_index: u8 = "L1tfHighPhysicalBitIndex",
        /// The bit of invalid PTEs that says so.
        value l1tf_swizzle_bit_index: u8 = "L1tfSwizzleBitIndex",
        /// Alignment.
        unused unused_padding_0: U32 = "Padding0",
        /// The buffer of debug output.
        variable kd_print_circular_buffer_ptr: U64 = "KdPrintCircularBufferPtr",
        /// Its size.
        variable kd_print_buffer_size: U64 = "KdPrintBufferSize",
        /// `LOADER_PARAMETER_BLOCK`.
        variable ke_loader_block: U64 = "KeLoaderBlock",
        /// Size in bytes of `KPCR`.
        offset size_pcr: U16 = "SizePcr",
        /// Offset of `SelfPcr` in `KPCR`.
        offset offset_pcr_self_pcr: U16 = "OffsetPcrSelfPcr",
        /// Offset of the pointer to the `KPRCB` in `KPCR`.
        offset offset_pcr_current_prcb: U16 = "OffsetPcrCurrentPrcb",
        /// Offset of the `KPRCB` itself in `KPCR`.
        offset offset_pcr_contained_prcb: U16 = "OffsetPcrContainedPrcb",
        /// Offset of `InitialBStore` in `KPCR`.
        offset offset_pcr_initial_bstore: U16 = "OffsetPcrInitialBStore",
        /// Offset of `BStoreLimit` in `KPCR`.
        offset offset_pcr_bstore_limit: U16 = "OffsetPcrBStoreLimit",
        /// Offset of `InitialStack` in `KPCR`.
        offset offset_pcr_initial_stack: U16 = "OffsetPcrInitialStack",
        /// Offset of `StackLimit` in `KPCR`.
        offset offset_pcr_stack_limit: U16 = "OffsetPcrStackLimit",
        /// Offset of `PcrPage` in `KPRCB`.
        offset offset_prcb_pcr_page: U16 = "OffsetPrcbPcrPage",
        /// Offset of `ProcessorState.SpecialRegisters` in `KPRCB`.
        offset offset_prcb_proc_state_special_reg: U16 = "OffsetPrcbProcStateSpecialReg",
        /// Selector of code of the kernel.
        value gdt_r0_code: U16 = "GdtR0Code",
        /// Selector of data of the kernel.
        value gdt_r0_data: U16 = "GdtR0Data",
        /// Selector of the `KPCR`.
        value gdt_r0_pcr: U16 = "GdtR0Pcr",
        /// Selector of code of user mode.
        value gdt_r3_code: U16 = "GdtR3Code",
        /// Selector of data of user mode.
        value gdt_r3_data: U16 = "GdtR3Data",
        /// Selector of the TEB.
        value gdt_r3_teb: U16 = "GdtR3Teb",
        /// Selector of the local descriptor table.
        value gdt_ldt: U16 = "GdtLdt",
        /// Selector of the task state.
        value gdt_tss: U16 = "GdtTss",
        /// Selector of 32-bit code of user mode.
        value gdt64_r3_cm_code: U16 = "Gdt64R3CmCode",
        /// Selector of the 32-bit TEB.
        value gdt64_r3_cm_teb: U16 = "Gdt64R3CmTeb",
        /// Number of ranges that drivers registered for small dumps.
        variable iop_num_triage_dump_data_blocks: U64 = "IopNumTriageDumpDataBlocks",
        /// These ranges: start and end of each.
        object iop_triage_dump_data_blocks: U64 = "IopTriageDumpDataBlocks",
        /// Driver verifier's data for a crash.
        object vf_crash_data_block: U64 = "VfCrashDataBlock",
        /// Bad pages.
        variable mm_bad_pages_detected: U64 = "MmBadPagesDetected",
        /// Zeroed pages that had a single bit set.
        variable mm_zeroed_page_single_bit_errors_detected: U64 = "MmZeroedPageSingleBitErrorsDetected",
        /// `ETW_DEBUGGER_DATA`.
        object etwp_debugger_data: U64 = "EtwpDebuggerData",
        /// Offset of `Context` in `KPRCB`: the pointer to the saved `CONTEXT`.
        offset offset_prcb_context: U16 = "OffsetPrcbContext",
        /// Offset of `MaxBreakpoints` in `KPRCB`.
        offset offset_prcb_max_breakpoints: U16 = "OffsetPrcbMaxBreakpoints",
        /// Offset of `MaxWatchpoints` in `KPRCB`.
        offset offset_prcb_max_watchpoints: U16 = "OffsetPrcbMaxWatchpoints",
        /// Alignment.
        unused unused_padding_1: U16 = "Padding1",
        /// Offset of `StackLimit` in `KTHREAD`.
        offset offset_kthread_stack_limit: U32 = "OffsetKThreadStackLimit",
        /// Offset of `StackBase` in `KTHREAD`.
        offset offset_kthread_stack_base: U32 = "OffsetKThreadStackBase",
        /// Offset of `QueueListEntry` in `KTHREAD`.
        offset offset_kthread_queue_list_entry: U32 = "OffsetKThreadQueueListEntry",
        /// Offset of `IrpList` in `ETHREAD`.
        offset offset_ethread_irp_list: U32 = "OffsetEThreadIrpList",
        /// Offset of `IdleThread` in `KPRCB`.
        offset offset_prcb_idle_thread: U16 = "OffsetPrcbIdleThread",
        /// Offset of `NormalDpcState` in `KPRCB`.
        offset offset_prcb_normal_dpc_state: U16 = "OffsetPrcbNormalDpcState",
        /// Offset of `DpcStack` in `KPRCB`.
        offset offset_prcb_dpc_stack: U16 = "OffsetPrcbDpcStack",
        /// Offset of `IsrStack` in `KPRCB`.
        offset offset_prcb_isr_stack: U16 = "OffsetPrcbIsrStack",
        /// Size in bytes of `KDPC_STACK_FRAME`.
        offset size_kdpc_stack_frame: U16 = "SizeKDPC_STACK_FRAME",
        /// Offset of `ThreadListHead` in `KPRIQUEUE`.
        offset offset_kpriqueue_thread_list_head: U16 = "OffsetKPriQueueThreadListHead",
        /// Offset of `WaitReason` in `KTHREAD`.
        offset offset_kthread_wait_reason: U16 = "OffsetKThreadWaitReason",
        /// Alignment.
        unused unused_padding_2: U16 = "Padding2",
        /// Where page tables are mapped.
        object pte_base: U64 = "PteBase",
        /// The table of retpoline stubs.
        object retpoline_stub_function_table: U64 = "RetpolineStubFunctionTable",
        /// Its size in bytes.
        value retpoline_stub_function_table_size: U32 = "RetpolineStubFunctionTableSize",
        /// Offset of the stubs.
        value retpoline_stub_offset: U32 = "RetpolineStubOffset",
        /// Size of the stubs in bytes.
        value retpoline_stub_size: U32 = "RetpolineStubSize",
        /// Offset of `MmHotPatchContext` in `EPROCESS`.
        offset offset_eprocess_mm_hot_patch_context: U16 = "OffsetEProcessMmHotPatchContext",
        /// Alignment.
        unused unused_padding_3: U16 = "Padding3",
        /// Offset of `ShadowStackLimit` in `KTHREAD`.
        offset offset_kthread_shadow_stack_limit: U32 = "OffsetKThreadShadowStackLimit",
        /// Offset of `ShadowStackBase` in `KTHREAD`.
        offset offset_kthread_shadow_stack_base: U32 = "OffsetKThreadShadowStackBase",
        /// A byte: whether kernel stacks have shadows.
        variable shadow_stack_enabled: U64 = "ShadowStackEnabled",
        /// The bits of pointers that carry a signature (ARM64).
        value pointer_auth_mask: U64 = "PointerAuthMask",
        /// Offset of `ExceptionStack` in `KPRCB`.
        offset offset_prcb_exception_stack: U16 = "OffsetPrcbExceptionStack",
        /// Alignment.
        unused unused_padding_4: [U16; 3] = "Padding4",
}

const _: () = {
    assert!(offset_of!(KdDebuggerData64, kern_base) == 0x18);
    assert!(offset_of!(KdDebuggerData64, ki_bugcheck_data) == 0x88);
    assert!(offset_of!(KdDebuggerData64, mm_pfn_database) == 0xC0);
    assert!(offset_of!(KdDebuggerData64, ki_processor_block) == 0x218);
    assert!(offset_of!(KdDebuggerData64, mm_virtual_translation_base) == 0x290);
    assert!(offset_of!(KdDebuggerData64, size_prcb) == 0x2B0);
    assert!(offset_of!(KdDebuggerData64, offset_prcb_proc_state_special_reg) == 0x2F2);
    assert!(offset_of!(KdDebuggerData64, gdt64_r3_cm_teb) == 0x306);
    assert!(offset_of!(KdDebuggerData64, offset_prcb_context) == 0x338);
    assert!(offset_of!(KdDebuggerData64, offset_kthread_stack_base) == 0x344);
    assert!(offset_of!(KdDebuggerData64, pte_base) == 0x360);
    assert!(offset_of!(KdDebuggerData64, offset_prcb_exception_stack) == 0x398);
};
