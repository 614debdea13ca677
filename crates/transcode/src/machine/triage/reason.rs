//! Why memory is in a small dump, and what goes first where it must become smaller.

use serde::{Deserialize, Serialize};

/// Why a piece of memory is in a small dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// What the bugcheck is about, where that is known.
    BugcheckData,
    /// `MmVerifierData`.
    VerifierData,
    /// A `KPRCB`.
    Processor,
    /// The registers of a processor.
    ProcessorContext,
    /// The stack of a processor.
    ProcessorStack,
    /// The array of pointers to the `KPRCB`s.
    ProcessorTable,
    /// `NtBuildLab`.
    BuildText,
    /// What the kernel registered for small dumps.
    Registered,
    /// The table of these.
    RegisteredTable,
    /// The page that a parameter of the bugcheck points into.
    ParameterPage,
    /// The page that a register points into.
    RegisterPage,
    /// What the thread, the process and the stack point to.
    Pointer,
    /// What that points to.
    SecondPointer,
    /// What that points to, from the stack alone.
    ThirdPointer,
    /// The headers of the kernel's image.
    KernelHeader,
    /// The code around the instruction.
    Code,
    /// `KUSER_SHARED_DATA`.
    SharedUserData,
    /// Page-table entries of registers and parameters.
    PageTables,
}

/// How readily memory is dropped: that with the highest number goes first.
pub(super) type Rank = u8;

/// Everything.
pub(super) const ALL_RANKS: Rank = 9;

impl Reason {
    /// How readily it is dropped; what has rank 0 never is.
    pub(super) const fn rank(self) -> Rank {
        match self {
            Self::Processor
            | Self::ProcessorContext
            | Self::ProcessorTable
            | Self::VerifierData
            | Self::BuildText
            | Self::RegisteredTable => 0,
            Self::ProcessorStack => 1,
            Self::BugcheckData => 2,
            Self::Registered => 3,
            Self::ParameterPage => 4,
            Self::RegisterPage => 5,
            Self::KernelHeader | Self::Code | Self::SharedUserData | Self::PageTables => 6,
            Self::Pointer => 7,
            Self::SecondPointer => 8,
            Self::ThirdPointer => ALL_RANKS,
        }
    }

    /// Whether it was found by following pointers.
    pub(super) const fn is_followed(self) -> bool {
        matches!(self, Self::Pointer | Self::SecondPointer | Self::ThirdPointer)
    }
}

/// How much memory is there, or is not, for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// Why.
    pub reason: Reason,
    /// The number of blocks.
    pub blocks: u64,
    /// The number of bytes.
    pub bytes: u64,
}
