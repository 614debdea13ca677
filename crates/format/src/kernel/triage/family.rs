//! Who wrote a triage dump: the kernel, or a debugger out of a bigger dump.

/// The two families of triage dumps. They share the container and differ in the order and the filling of its sections;
/// measured on eighteen real dumps from Windows XP to build 26100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TriageFamily {
    /// Written by the kernel when it crashed.
    CrashTime,
    /// Made from a bigger dump, by Windows Error Reporting or `.dump /m`.
    Offline,
}

impl TriageFamily {
    /// `TriageOptions` of [`TriageFamily::CrashTime`], from XP to build 26100.
    pub const OPTIONS_CRASH_TIME: u32 = 0x41;
    /// `TriageOptions` of [`TriageFamily::Offline`].
    pub const OPTIONS_OFFLINE: u32 = u32::MAX;
    /// `MiniDumpFields` of [`TriageFamily::CrashTime`].
    pub const FIELDS_CRASH_TIME: u32 = 0xDFF;
    /// `MiniDumpFields` of [`TriageFamily::Offline`] with data blocks.
    pub const FIELDS_OFFLINE: u32 = 0xCFF;
    /// The bit of `MiniDumpFields` that says that there are data blocks.
    pub const FIELD_DATA_BLOCKS: u32 = 0x800;

    /// The family of a dump with these `TriageOptions`.
    #[must_use]
    pub const fn of(triage_options: u32) -> Self {
        if triage_options == Self::OPTIONS_OFFLINE {
            Self::Offline
        } else {
            Self::CrashTime
        }
    }

    /// Its name as `inspect` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashTime => "crash-time",
            Self::Offline => "offline",
        }
    }
}
