//! Where Windows keeps what in its structures, by processor and build.
//!
//! Offsets that `KDDEBUGGER_DATA64` publishes are those of real dumps of the build (x64 19041 and 26100, ARM64 22000);
//! the others are those of public symbols, or keep the distances that these have in other builds.

use dotdump_snapshot::paging::{PagingMode, SoftwarePtes};

use crate::error::BuildError;

mod layouts;

use layouts::{
    PAGE_NEW, PAGE_OLD, PAGE_PAE, PAGE_X86, PROCESS_7601, PROCESS_19041, PROCESS_26100, PROCESS_ARM64, PROCESS_X86,
    PROCESSOR_7601, PROCESSOR_19041, PROCESSOR_26100, PROCESSOR_ARM64, PROCESSOR_X86, THREAD_7601, THREAD_19041,
    THREAD_ARM64, THREAD_X86, thread_new,
};

/// `EPROCESS`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessFields {
    pub(crate) size: u64,
    pub(crate) directory_table_base: u64,
    /// `KPROCESS.ThreadListHead`.
    pub(crate) thread_list_head_0: u64,
    pub(crate) user_directory_table_base: Option<u64>,
    pub(crate) unique_process_id: u64,
    pub(crate) active_process_links: u64,
    pub(crate) create_time: u64,
    pub(crate) token: u64,
    pub(crate) object_table: u64,
    pub(crate) section_base_address: u64,
    pub(crate) parent: u64,
    pub(crate) peb: u64,
    pub(crate) wow64_process: Option<u64>,
    pub(crate) image_file_name: u64,
    pub(crate) audit_name: u64,
    pub(crate) thread_list_head: u64,
    pub(crate) active_threads: u64,
    pub(crate) exit_status: u64,
    pub(crate) vad_root: u64,
}

/// `ETHREAD`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadFields {
    pub(crate) size: u64,
    pub(crate) initial_stack: u64,
    pub(crate) stack_limit: u64,
    pub(crate) stack_base: u64,
    pub(crate) kernel_stack: u64,
    pub(crate) trap_frame: u64,
    /// `KTHREAD.ApcState.Process`.
    pub(crate) apc_process: u64,
    pub(crate) state: u64,
    pub(crate) teb: u64,
    pub(crate) process: u64,
    /// `KTHREAD.ThreadListEntry`.
    pub(crate) thread_list_entry_0: u64,
    pub(crate) create_time: u64,
    pub(crate) start_address: u64,
    pub(crate) client_id: u64,
    pub(crate) irp_list: u64,
    pub(crate) win32_start_address: u64,
    pub(crate) thread_list_entry: u64,
    pub(crate) next_processor: u64,
    pub(crate) wait_reason: u64,
}

/// `KPCR` and `KPRCB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessorFields {
    pub(crate) pcr_size: u64,
    pub(crate) pcr_self: u64,
    pub(crate) pcr_current_prcb: u64,
    pub(crate) pcr_version_block: u64,
    pub(crate) pcr_prcb: u64,
    pub(crate) prcb_size: u64,
    pub(crate) current_thread: u64,
    pub(crate) idle_thread: u64,
    pub(crate) number: u64,
    pub(crate) mhz: u64,
    pub(crate) cpu_type: u64,
    pub(crate) vendor: u64,
    /// `ProcessorState.ContextFrame`.
    pub(crate) context_frame: u64,
    pub(crate) special_registers: u64,
    /// The pointer to the saved `CONTEXT`.
    pub(crate) context: u64,
    pub(crate) dpc_routine: u64,
    pub(crate) dpc_stack: u64,
    pub(crate) isr_stack: u64,
}

/// `MMPFN`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageFields {
    pub(crate) size: u64,
    pub(crate) pte_address: u64,
    pub(crate) share_count: u64,
    pub(crate) reference_count: u64,
    pub(crate) original_pte: u64,
    pub(crate) original_pte_size: usize,
    pub(crate) pte_frame: u64,
    /// Its size in bytes; `PrototypePte` is a bit of the same field.
    pub(crate) pte_frame_size: usize,
    pub(crate) prototype_bit: u32,
}

/// All of a build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) build: u32,
    pub(crate) version: (u32, u32),
    pub(crate) process: ProcessFields,
    pub(crate) thread: ThreadFields,
    pub(crate) processor: ProcessorFields,
    pub(crate) page: PageFields,
    /// `KDDEBUGGER_DATA64.Header.Size`.
    pub(crate) debugger_data_size: usize,
}

impl Profile {
    /// The layouts of `build`, or of the closest build before it that is known.
    pub(crate) fn of(mode: PagingMode, build: u32) -> Result<Self, BuildError> {
        let (process, thread, processor, page, size) = match mode {
            PagingMode::X86 => (PROCESS_X86, THREAD_X86, PROCESSOR_X86, PAGE_X86, 0x340),
            PagingMode::Pae => (PROCESS_X86, THREAD_X86, PROCESSOR_X86, PAGE_PAE, 0x340),
            PagingMode::Arm64 => (PROCESS_ARM64, THREAD_ARM64, PROCESSOR_ARM64, PAGE_NEW, 0x380),
            PagingMode::FourLevel | PagingMode::FiveLevel => match build {
                ..9200 => (PROCESS_7601, THREAD_7601, PROCESSOR_7601, PAGE_OLD, 0x340),
                9200..10240 => return Err(BuildError::Options("layouts of Windows 8 are not known")),
                10240..26100 => (PROCESS_19041, THREAD_19041, PROCESSOR_19041, PAGE_NEW, 0x380),
                26100.. => (
                    PROCESS_26100,
                    thread_new(0x4C0, 0x798),
                    PROCESSOR_26100,
                    PAGE_NEW,
                    0x3A0,
                ),
            },
        };
        let version = match build {
            ..7600 => (6, 0),
            7600..9200 => (6, 1),
            9200..9600 => (6, 2),
            9600..10240 => (6, 3),
            10240.. => (10, 0),
        };
        Ok(Self {
            build,
            version,
            process,
            thread,
            processor,
            page,
            debugger_data_size: size,
        })
    }

    /// How invalid page-table entries of this build are laid out.
    pub(crate) const fn software_ptes(build: u32, high_bit: u8, swizzle_bit: u8) -> SoftwarePtes {
        if build < 17134 {
            SoftwarePtes::Early
        } else {
            SoftwarePtes::Late { high_bit, swizzle_bit }
        }
    }
}
