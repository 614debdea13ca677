//! Where things lie in the structures that Windows keeps for a process: only offsets, from the public symbols of
//! `ntdll` (`_TEB`, `_PEB`, `_RTL_USER_PROCESS_PARAMETERS`, `_WOW64_CPURESERVED`), and the sizes that Microsoft's
//! writers store.

/// Offsets in the structures of a 32-bit or a 64-bit process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowsLayout {
    /// `TEB.NtTib.StackBase`; the stack's limit follows.
    pub(crate) teb_stack_base: u64,
    /// `TEB.NtTib.Self`.
    pub(crate) teb_self: u64,
    /// `TEB.ThreadLocalStoragePointer`.
    pub(crate) teb_tls_pointer: u64,
    /// `TEB.ProcessEnvironmentBlock`.
    pub(crate) teb_peb: u64,
    /// `TEB.TlsExpansionSlots`.
    pub(crate) teb_tls_expansion: u64,
    /// `TEB.FlsData`.
    pub(crate) teb_fls_data: u64,
    /// The bytes of a TEB that are stored.
    pub(crate) teb_size: u64,
    /// `PEB.ProcessParameters`.
    pub(crate) peb_parameters: u64,
    /// `PEB.OSMajorVersion`, `OSMinorVersion` and `OSBuildNumber` (16 bits): which system, and so which size.
    pub(crate) peb_os_version: u64,
    /// `RTL_USER_PROCESS_PARAMETERS`: the UNICODE_STRINGs whose text is stored.
    pub(crate) parameter_strings: [u64; 6],
    /// `RTL_USER_PROCESS_PARAMETERS.Environment`.
    pub(crate) parameters_environment: u64,
    /// The size of the array of expansion slots: 1024 pointers.
    pub(crate) tls_expansion_size: u64,
}

/// A 64-bit process.
pub(crate) const X64: WindowsLayout = WindowsLayout {
    teb_stack_base: 0x8,
    teb_self: 0x30,
    teb_tls_pointer: 0x58,
    teb_peb: 0x60,
    teb_tls_expansion: 0x1780,
    teb_fls_data: 0x17C8,
    teb_size: 0x2000,
    peb_parameters: 0x20,
    peb_os_version: 0x118,
    // CurrentDirectory.DosPath, DllPath, ImagePathName, CommandLine, WindowTitle, DesktopInfo.
    parameter_strings: [0x38, 0x50, 0x60, 0x70, 0xB0, 0xC0],
    parameters_environment: 0x80,
    tls_expansion_size: 0x2000,
};

/// A 32-bit process.
pub(crate) const X86: WindowsLayout = WindowsLayout {
    teb_stack_base: 0x4,
    teb_self: 0x18,
    teb_tls_pointer: 0x2C,
    teb_peb: 0x30,
    teb_tls_expansion: 0xF94,
    teb_fls_data: 0xFB4,
    teb_size: 0x1000,
    peb_parameters: 0x10,
    peb_os_version: 0xA4,
    parameter_strings: [0x24, 0x30, 0x38, 0x40, 0x70, 0x78],
    parameters_environment: 0x48,
    tls_expansion_size: 0x1000,
};

/// The bytes of a process's environment that are stored at most.
pub(crate) const ENVIRONMENT_SIZE: u64 = 0x2000;

/// The page that Windows shares with every process (`KUSER_SHARED_DATA`), and the bytes of it that are stored.
pub(crate) const SHARED_USER_DATA: (u64, u64) = (0x7FFE_0000, 0x738);

/// `TEB64.TlsSlots[1]`: under WOW64 the address of the 32-bit processor state.
pub(crate) const TEB64_WOW64_CPU: u64 = 0x1480 + 8;

/// The 32-bit CONTEXT in that state comes after two 16-bit fields.
pub(crate) const WOW64_CPU_CONTEXT: u64 = 4;

/// `TEB64.WowTebOffset` (Windows 10 and later): where the 32-bit TEB lies, counted from the 64-bit one.
pub(crate) const TEB64_WOW_TEB_OFFSET: u64 = 0x180C;

/// Where the 32-bit TEB lies where there is no such field.
pub(crate) const TEB32_DISTANCE: u64 = 0x2000;

impl WindowsLayout {
    const fn is_64(&self) -> bool {
        self.teb_size == X64.teb_size
    }

    /// The size of the PEB as the writers of that system store it. Measured on dumps of x86 7601 and x64 14393, 19041
    /// and 19042; the others are estimates from how the structure grew, where bytes too many do no harm.
    pub(crate) const fn peb_size(&self, build: u16) -> u64 {
        match (self.is_64(), build) {
            (true, 17_134..) => 0x7C8,
            (true, 16_299..) => 0x7B0,
            (true, 15_063..) => 0x7A8,
            (true, 10_240..) => 0x7A0,
            (true, _) => 0x388,
            (false, 17_134..) => 0x480,
            (false, 16_299..) => 0x470,
            (false, 15_063..) => 0x468,
            (false, 10_240..) => 0x460,
            (false, 9_200..) => 0x250,
            (false, _) => 0x248,
        }
    }

    /// The size of `RTL_USER_PROCESS_PARAMETERS` without the texts behind it, measured and estimated as for the PEB.
    pub(crate) const fn parameters_size(&self, build: u16) -> u64 {
        match (self.is_64(), build) {
            (true, 19_041..) => 0x440,
            (true, 18_362..) => 0x430,
            (true, 17_763..) => 0x420,
            (true, 9_200..) => 0x410,
            (true, _) => 0x400,
            (false, 19_041..) => 0x2C0,
            (false, 18_362..) => 0x2B4,
            (false, 17_763..) => 0x2AC,
            (false, 9_200..) => 0x2A4,
            (false, _) => 0x298,
        }
    }

    /// What is stored of a thread's fiber-local storage: two list links and `FLS_MAXIMUM_AVAILABLE` slots. Measured
    /// for x86 7601 and x64 14393 (128 slots), 19041 and 19042 (4,080 slots).
    pub(crate) const fn fls_size(&self, build: u16) -> u64 {
        let slots = if build >= 19_041 { 4080 } else { 128 };
        let pointer = if self.is_64() { 8 } else { 4 };
        (2 + slots) * pointer
    }
}
