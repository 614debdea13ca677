//! The options of `.dump`: one table, the set of the letters that one dump was asked for, and the bits that
//! the debugger's interfaces and the file's header have for them.

mod debug_format;
mod dump_options;
mod kind;
mod markdown;
mod mini;
pub mod table;

pub use debug_format::DebugFormat;
pub use dump_options::{DumpOptions, Subject};
pub use kind::DumpKind;
pub use markdown::{TABLE_BEGIN, TABLE_END, markdown_table, replace_markdown_table};
pub use mini::MiniOptions;

/// Why options are refused. Every one of these is a mistake in what was asked, not in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A letter after `-m` that the table does not have.
    #[error("unknown letter `{letter}` after -m; known are {}", table::mini_letters())]
    UnknownLetter {
        /// The letter.
        letter: char,
    },
    /// Two options that contradict each other.
    #[error("-m{first} and -m{second} contradict each other: {reason}")]
    Conflict {
        /// One of the letters.
        first: char,
        /// The other one.
        second: char,
        /// Why there is no dump that has both.
        reason: &'static str,
    },
    /// Two options for dumps of different kinds.
    #[error("{first} and {second} contradict each other: a dump is of one kind")]
    Kinds {
        /// One of them.
        first: DumpKind,
        /// The other one.
        second: DumpKind,
    },
    /// Two options that tell the same in different ways.
    #[error("{first} and {second} contradict each other: {reason}")]
    Exclusive {
        /// One of them, as in WinDbg.
        first: &'static str,
        /// The other one.
        second: &'static str,
        /// What both of them tell.
        reason: &'static str,
    },
    /// An option that the dump of such a thing cannot have.
    #[error("{option} is refused: {reason}")]
    Refused {
        /// The option, as in WinDbg.
        option: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// Bits that no option stands for.
    #[error("{bits:#010x} of the format flags ({}) cannot be asked for", DebugFormat::from_bits_retain(*.bits))]
    UnsupportedFormat {
        /// The bits that are left over.
        bits: u32,
    },
}
