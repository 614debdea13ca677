//! Thread contexts: the registers of a thread, in the layout of its CPU.
//!
//! A context in a dump says in its flags which CPU it is for, but not reliably: Windows and Breakpad number CPUs
//! differently, and some writers leave the CPU out. So the dump's `SystemInfo` decides, and size and flags only settle
//! what it leaves open ([`ContextKind::of`]). Reading takes the first [`Context::base_size`] bytes; what follows
//! them in an extended context is the business of [`xstate`].
//!
//! # Example
//!
//! A context as a writer makes it, and as a reader sees it:
//!
//! ```
//! use dotdump_format::Endian;
//! use dotdump_format::minidump::context::{Context, ContextAmd64, ContextFlags, instruction_pointer_of};
//! use dotdump_format::minidump::system_info::ProcessorArchitecture;
//!
//! let mut registers = ContextAmd64::default();
//! registers.context_flags = ContextFlags::AMD64_FULL.0.into();
//! registers.rip = 0x7FF7_5355_AF42.into();
//! registers.rsp = 0xD2_DE4F_F720.into();
//! let bytes = Context::from(registers).write_to(Endian::Little);
//! assert_eq!(bytes.len(), 1232);
//!
//! let context = Context::read(&bytes, ProcessorArchitecture::AMD64, Endian::Little)?;
//! assert_eq!(context.instruction_pointer(), 0x7FF7_5355_AF42);
//! assert!(context.flags().contains(ContextFlags::AMD64_CONTROL));
//! assert_eq!(context.register("rsp").unwrap().to_string(), "0x000000d2de4ff720");
//! for (name, value) in context.general_registers() {
//!     println!("{name:>6} = {value}");
//! }
//!
//! // Where the instruction pointer is all that matters, nothing else is read.
//! let ip = instruction_pointer_of(&bytes, ProcessorArchitecture::AMD64, Endian::Little);
//! assert_eq!(ip, Some(0x7FF7_5355_AF42));
//! # Ok::<(), dotdump_format::minidump::context::ContextError>(())
//! ```

mod amd64;
mod arm;
mod arm64;
mod field;
mod flags;
mod fxsave;
mod kind;
mod mips;
mod ppc;
mod registers;
mod riscv;
mod sparc;
mod x86;

pub mod xstate;

use alloc::boxed::Box;
use alloc::vec::Vec;

use zerocopy::IntoBytes;

pub use amd64::ContextAmd64;
pub use arm::{ContextArm, ContextArmBreakpad};
pub use arm64::{ContextArm64, ContextArm64Old};
pub use flags::ContextFlags;
pub use fxsave::{FxSave, StSlot};
pub use kind::{base_size, instruction_pointer_of, stack_pointer_of, truncate_to_base};
pub use mips::ContextMips;
pub use ppc::{ContextPpc, ContextPpc64, FloatSavePpc, VectorSavePpc};
pub use registers::{Float80, RegisterValue};
pub use riscv::{ContextRiscV, ContextRiscV64};
pub use sparc::ContextSparc;
pub use x86::{ContextX86, FloatingSaveArea};

use self::field::{Field, Fields};
use self::registers::{CpuContext, Named};
use super::system_info::ProcessorArchitecture;
use crate::addr::FileOffset;
use crate::error::Finding;
use crate::record::{Endian, Record};

/// Why a context cannot be read or extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// There is no layout for this architecture.
    #[error("{size} bytes of registers of a CPU that is not supported ({architecture})")]
    Unsupported {
        /// The architecture of the dump.
        architecture: ProcessorArchitecture,
        /// The size of the context in bytes.
        size: usize,
    },
    /// The context is shorter than the registers of its CPU.
    #[error("{size} bytes, at least {expected} expected")]
    TooShort {
        /// The size of the context in bytes.
        size: usize,
        /// The size that it needs.
        expected: usize,
    },
    /// Only x86 and AMD64 contexts of just their base size can be extended.
    #[error("{size} bytes are no context that can be extended")]
    NotExtensible {
        /// The size of the context in bytes.
        size: usize,
    },
    /// A component of the extended state has no room: the configuration does not list it, or lists it as smaller.
    #[error("component {bit} of {size} bytes, {expected} expected")]
    Component {
        /// Its bit in the feature mask.
        bit: u32,
        /// Its size in bytes.
        size: usize,
        /// The size in bytes that the configuration has for it.
        expected: usize,
    },
}

impl ContextError {
    /// The same as a finding about a context at `offset` of a file, so that a reader may go on without it.
    #[must_use]
    pub fn into_finding(self, offset: FileOffset, what: &'static str) -> Finding {
        Finding::new(offset, what, alloc::format!("{self}"))
    }
}

/// Lists the kinds of contexts once.
macro_rules! contexts {
    ($($(#[$doc:meta])* $kind:ident($record:ident),)*) => {
        /// Which layout a context has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ContextKind {
            $($(#[$doc])* $kind,)*
        }

        impl ContextKind {
            /// All kinds.
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];

            /// The size in bytes of a context without extended state.
            #[must_use]
            pub const fn base_size(self) -> usize {
                match self {
                    $(Self::$kind => <$record as Record>::SIZE,)*
                }
            }

            const fn fields(self) -> &'static Fields {
                match self {
                    $(Self::$kind => &<$record as CpuContext>::FIELDS,)*
                }
            }
        }

        /// The registers of a thread.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Context {
            $($(#[$doc])* $kind(Box<$record>),)*
        }

        impl Context {
            /// Reads a context of a kind that is known; `None` where there are fewer bytes than it needs.
            #[must_use]
            pub fn read_as(context: &[u8], kind: ContextKind, endian: Endian) -> Option<Self> {
                Some(match kind {
                    $(ContextKind::$kind => Self::$kind(Box::new($record::read(context, endian)?)),)*
                })
            }

            /// Which layout it has.
            #[must_use]
            pub const fn kind(&self) -> ContextKind {
                match self {
                    $(Self::$kind(_) => ContextKind::$kind,)*
                }
            }

            /// The context as a file of byte order `endian` has it, without extended state.
            #[must_use]
            pub fn write_to(&self, endian: Endian) -> Vec<u8> {
                match self {
                    $(Self::$kind(record) => record.in_order(endian).as_bytes().to_vec(),)*
                }
            }

            fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$kind(record) => record.as_bytes(),)*
                }
            }

            fn as_mut_bytes(&mut self) -> &mut [u8] {
                match self {
                    $(Self::$kind(record) => record.as_mut_bytes(),)*
                }
            }

            fn record(&self) -> &dyn NamedRegisters {
                match self {
                    $(Self::$kind(record) => record.as_ref(),)*
                }
            }
        }

        $(
            impl From<$record> for Context {
                fn from(record: $record) -> Self {
                    Self::$kind(Box::new(record))
                }
            }
        )*
    };
}

contexts! {
    /// x86.
    X86(ContextX86),
    /// AMD64.
    Amd64(ContextAmd64),
    /// 32-bit ARM as Windows has it.
    Arm(ContextArm),
    /// 32-bit ARM as Breakpad has it.
    ArmBreakpad(ContextArmBreakpad),
    /// ARM64 as Windows and today's Breakpad have it.
    Arm64(ContextArm64),
    /// ARM64 as Breakpad first had it.
    Arm64Old(ContextArm64Old),
    /// MIPS, of 32 or 64 bits.
    Mips(ContextMips),
    /// PowerPC.
    Ppc(ContextPpc),
    /// PowerPC, 64 bits.
    Ppc64(ContextPpc64),
    /// SPARC.
    Sparc(ContextSparc),
    /// RISC-V, 32 bits.
    RiscV(ContextRiscV),
    /// RISC-V, 64 bits.
    RiscV64(ContextRiscV64),
}

/// The part of [`CpuContext`] that does not depend on its type.
trait NamedRegisters {
    fn add_general(&self, registers: &mut Named);
    fn add_special(&self, registers: &mut Named);
}

impl<T: CpuContext> NamedRegisters for T {
    fn add_general(&self, registers: &mut Named) {
        self.general(registers);
    }

    fn add_special(&self, registers: &mut Named) {
        self.special(registers);
    }
}

impl Context {
    /// Reads the context of a thread in a dump of this architecture. Extended state after it is left alone.
    ///
    /// # Errors
    /// [`ContextError::Unsupported`] for a CPU whose contexts are not known, [`ContextError::TooShort`] where the
    /// registers are not all there.
    pub fn read(context: &[u8], architecture: ProcessorArchitecture, endian: Endian) -> Result<Self, ContextError> {
        let size = context.len();
        ContextKind::of(context, architecture, endian)
            .and_then(|kind| Self::read_as(context, kind, endian))
            .ok_or_else(|| match base_size(architecture) {
                Some(expected) => ContextError::TooShort { size, expected },
                None => ContextError::Unsupported { architecture, size },
            })
    }

    /// Its size in bytes without extended state.
    #[must_use]
    pub const fn base_size(&self) -> usize {
        self.kind().base_size()
    }

    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> ContextFlags {
        self.kind()
            .flags_of(self.as_bytes(), Endian::Little)
            .unwrap_or_default()
    }

    /// Replaces its flags.
    pub fn set_flags(&mut self, flags: ContextFlags) {
        self.kind().set_flags_of(self.as_mut_bytes(), Endian::Little, flags);
    }

    /// The context without the flag which says that extended state follows it.
    #[must_use]
    pub fn without_xstate_bit(mut self) -> Self {
        self.set_flags(self.flags().without_xstate(self.kind()));
        self
    }

    fn number(&self, field: Field) -> u64 {
        field.get(self.as_bytes(), Endian::Little).unwrap_or_default()
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> u64 {
        self.number(self.kind().fields().ip)
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.number(self.kind().fields().sp)
    }

    /// The register that the calling convention has for the frame pointer, whether or not the program uses it so;
    /// `None` on PowerPC, where there is none.
    #[must_use]
    pub fn frame_pointer(&self) -> Option<u64> {
        self.kind().fields().fp.map(|field| self.number(field))
    }

    /// The register into which calls put the return address; `None` on x86 and AMD64, where the stack takes it.
    #[must_use]
    pub fn link_register(&self) -> Option<u64> {
        self.kind().fields().lr.map(|field| self.number(field))
    }

    /// The general-purpose registers with the instruction pointer, the stack pointer and the CPU's flags.
    pub fn general_registers(&self) -> impl Iterator<Item = (&'static str, RegisterValue)> + use<> {
        let mut registers = Vec::new();
        self.record().add_general(&mut registers);
        registers.into_iter()
    }

    /// Every register that the context has, the general ones first. No name occurs twice. Where x86 and AMD64 contexts
    /// hold something a second time, in the image of `FXSAVE`, that name starts with `fx_`.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, RegisterValue)> + use<> {
        let mut registers = Vec::new();
        self.record().add_general(&mut registers);
        self.record().add_special(&mut registers);
        registers.into_iter()
    }

    /// The register of that name, as [`Context::registers`] spells it.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<RegisterValue> {
        self.registers()
            .find_map(|(other, value)| (other == name).then_some(value))
    }
}

#[cfg(test)]
mod tests;
