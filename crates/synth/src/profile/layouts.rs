//! The layouts of each build.

use super::{PageFields, ProcessFields, ProcessorFields, ThreadFields};

pub(super) const PROCESS_19041: ProcessFields = ProcessFields {
    size: 0xA40,
    directory_table_base: 0x28,
    thread_list_head_0: 0x30,
    user_directory_table_base: Some(0x388),
    unique_process_id: 0x440,
    active_process_links: 0x448,
    create_time: 0x468,
    token: 0x4B8,
    object_table: 0x570,
    section_base_address: 0x520,
    parent: 0x540,
    peb: 0x550,
    wow64_process: Some(0x580),
    image_file_name: 0x5A8,
    audit_name: 0x5C0,
    thread_list_head: 0x5E0,
    active_threads: 0x5F0,
    exit_status: 0x7D4,
    vad_root: 0x7D8,
};

pub(super) const PROCESS_26100: ProcessFields = ProcessFields {
    size: 0x840,
    directory_table_base: 0x28,
    thread_list_head_0: 0x30,
    user_directory_table_base: Some(0x158),
    unique_process_id: 0x1D0,
    active_process_links: 0x1D8,
    create_time: 0x1F8,
    token: 0x248,
    object_table: 0x300,
    section_base_address: 0x2B0,
    parent: 0x2D0,
    peb: 0x2E0,
    wow64_process: Some(0x310),
    image_file_name: 0x338,
    audit_name: 0x350,
    thread_list_head: 0x370,
    active_threads: 0x380,
    exit_status: 0x554,
    vad_root: 0x558,
};

/// The kernel's part is 0x48 bytes shorter than that of x64.
pub(super) const PROCESS_ARM64: ProcessFields = ProcessFields {
    size: 0xC80,
    directory_table_base: 0x28,
    thread_list_head_0: 0x30,
    user_directory_table_base: None,
    unique_process_id: 0x3F8,
    active_process_links: 0x400,
    create_time: 0x420,
    token: 0x470,
    object_table: 0x528,
    section_base_address: 0x4D8,
    parent: 0x4F8,
    peb: 0x508,
    wow64_process: Some(0x538),
    image_file_name: 0x560,
    audit_name: 0x578,
    thread_list_head: 0x598,
    active_threads: 0x5A8,
    exit_status: 0x78C,
    vad_root: 0x790,
};

pub(super) const PROCESS_7601: ProcessFields = ProcessFields {
    size: 0x4D0,
    directory_table_base: 0x28,
    thread_list_head_0: 0x30,
    user_directory_table_base: None,
    unique_process_id: 0x180,
    active_process_links: 0x188,
    create_time: 0x168,
    token: 0x208,
    object_table: 0x200,
    section_base_address: 0x270,
    parent: 0x290,
    peb: 0x338,
    wow64_process: Some(0x320),
    image_file_name: 0x2E0,
    audit_name: 0x390,
    thread_list_head: 0x308,
    active_threads: 0x328,
    exit_status: 0x444,
    vad_root: 0x448,
};

pub(super) const PROCESS_X86: ProcessFields = ProcessFields {
    size: 0x2C0,
    directory_table_base: 0x18,
    thread_list_head_0: 0x2C,
    user_directory_table_base: None,
    unique_process_id: 0xB4,
    active_process_links: 0xB8,
    create_time: 0xA0,
    token: 0xF8,
    object_table: 0xF4,
    section_base_address: 0x12C,
    parent: 0x140,
    peb: 0x1A8,
    wow64_process: None,
    image_file_name: 0x16C,
    audit_name: 0x1EC,
    thread_list_head: 0x188,
    active_threads: 0x198,
    exit_status: 0x274,
    vad_root: 0x278,
};

pub(super) const THREAD_19041: ThreadFields = ThreadFields {
    state: 0x184,
    wait_reason: 0x283,
    next_processor: 0x218,
    ..thread_new(0x430, 0x898)
};

pub(super) const THREAD_ARM64: ThreadFields = ThreadFields {
    trap_frame: 0x88,
    apc_process: 0xB0,
    state: 0x17C,
    teb: 0xE8,
    process: 0x240,
    thread_list_entry_0: 0x318,
    next_processor: 0x238,
    wait_reason: 0x2A3,
    ..thread_new(0x4A0, 0x910)
};

/// x64 from Windows 10 on: the fields of `ETHREAD` behind `KTHREAD` keep their distances.
pub(super) const fn thread_new(kthread: u64, size: u64) -> ThreadFields {
    ThreadFields {
        size,
        initial_stack: 0x28,
        stack_limit: 0x30,
        stack_base: 0x38,
        kernel_stack: 0x58,
        trap_frame: 0x90,
        apc_process: 0xB8,
        state: 0x184,
        teb: 0xF0,
        process: 0x220,
        thread_list_entry_0: 0x2F8,
        create_time: kthread,
        start_address: kthread + 0x20,
        client_id: kthread + 0x48,
        irp_list: kthread + 0x80,
        win32_start_address: kthread + 0xA0,
        thread_list_entry: kthread + 0xB8,
        next_processor: 0x218,
        wait_reason: 0x283,
    }
}

pub(super) const THREAD_7601: ThreadFields = ThreadFields {
    size: 0x498,
    initial_stack: 0x28,
    stack_limit: 0x30,
    stack_base: 0x278,
    kernel_stack: 0x38,
    trap_frame: 0x1D8,
    apc_process: 0x70,
    state: 0x164,
    teb: 0xB8,
    process: 0x210,
    thread_list_entry_0: 0x2F8,
    create_time: 0x360,
    start_address: 0x388,
    client_id: 0x3B0,
    irp_list: 0x3E8,
    win32_start_address: 0x410,
    thread_list_entry: 0x420,
    next_processor: 0x20C,
    wait_reason: 0x26B,
};

pub(super) const THREAD_X86: ThreadFields = ThreadFields {
    size: 0x2B8,
    initial_stack: 0x28,
    stack_limit: 0x2C,
    stack_base: 0x190,
    kernel_stack: 0x30,
    trap_frame: 0x128,
    apc_process: 0x50,
    state: 0x68,
    teb: 0x88,
    process: 0x150,
    thread_list_entry_0: 0x1E0,
    create_time: 0x200,
    start_address: 0x218,
    client_id: 0x22C,
    irp_list: 0x24C,
    win32_start_address: 0x260,
    thread_list_entry: 0x268,
    next_processor: 0x124,
    wait_reason: 0x187,
};

pub(super) const PROCESSOR_19041: ProcessorFields = ProcessorFields {
    pcr_size: 0xB080,
    pcr_self: 0x18,
    pcr_current_prcb: 0x20,
    pcr_version_block: 0x108,
    pcr_prcb: 0x180,
    prcb_size: 0xAF00,
    current_thread: 0x08,
    idle_thread: 0x18,
    number: 0x24,
    mhz: 0x44,
    cpu_type: 0x40,
    vendor: 0x8590,
    context_frame: 0x1F0,
    special_registers: 0x100,
    context: 0x85C0,
    dpc_routine: 0x312A,
    dpc_stack: 0x3110,
    isr_stack: 0x85D8,
};

pub(super) const PROCESSOR_26100: ProcessorFields = ProcessorFields {
    pcr_size: 0xD080,
    prcb_size: 0xCF00,
    vendor: 0x8F90,
    context: 0x8FC0,
    dpc_routine: 0x38BA,
    dpc_stack: 0x38A0,
    isr_stack: 0x8FD8,
    ..PROCESSOR_19041
};

pub(super) const PROCESSOR_ARM64: ProcessorFields = ProcessorFields {
    pcr_size: 0xA000,
    pcr_current_prcb: 0x20,
    pcr_prcb: 0x980,
    prcb_size: 0x9680,
    mhz: 0x6F4,
    cpu_type: 0x6F0,
    vendor: 0x890,
    context_frame: 0x360,
    special_registers: 0x40,
    context: 0x8A0,
    dpc_routine: 0xB1A,
    dpc_stack: 0xAF8,
    isr_stack: 0x18E0,
    ..PROCESSOR_19041
};

pub(super) const PROCESSOR_7601: ProcessorFields = ProcessorFields {
    pcr_size: 0x4E80,
    prcb_size: 0x4D00,
    mhz: 0x638,
    cpu_type: 0x5F0,
    vendor: 0x4BB8,
    context_frame: 0x120,
    special_registers: 0x40,
    context: 0x4BD8,
    dpc_routine: 0x21EA,
    dpc_stack: 0x21D8,
    isr_stack: 0,
    ..PROCESSOR_19041
};

pub(super) const PROCESSOR_X86: ProcessorFields = ProcessorFields {
    pcr_size: 0x3748,
    pcr_self: 0x1C,
    pcr_current_prcb: 0x20,
    pcr_version_block: 0x34,
    pcr_prcb: 0x120,
    prcb_size: 0x3628,
    current_thread: 0x04,
    idle_thread: 0x0C,
    number: 0x3CC,
    mhz: 0x3C4,
    cpu_type: 0x14,
    vendor: 0x3610,
    context_frame: 0x18,
    special_registers: 0x2E4,
    context: 0x3620,
    dpc_routine: 0x18E2,
    dpc_stack: 0x18D8,
    isr_stack: 0,
};

/// From Windows 10 on.
pub(super) const PAGE_NEW: PageFields = PageFields {
    size: 0x30,
    pte_address: 0x08,
    share_count: 0x18,
    reference_count: 0x20,
    original_pte: 0x10,
    original_pte_size: 8,
    pte_frame: 0x28,
    pte_frame_size: 8,
    prototype_bit: 57,
};

/// Windows Vista to 8.1.
pub(super) const PAGE_OLD: PageFields = PageFields {
    pte_address: 0x10,
    share_count: 0x08,
    reference_count: 0x18,
    original_pte: 0x20,
    ..PAGE_NEW
};

pub(super) const PAGE_X86: PageFields = PageFields {
    size: 0x18,
    pte_address: 0x08,
    share_count: 0x04,
    reference_count: 0x0C,
    original_pte: 0x10,
    original_pte_size: 4,
    pte_frame: 0x14,
    pte_frame_size: 4,
    prototype_bit: 27,
};

pub(super) const PAGE_PAE: PageFields = PageFields {
    size: 0x1C,
    original_pte_size: 8,
    pte_frame: 0x18,
    ..PAGE_X86
};
