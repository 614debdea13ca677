//! The `.dump` engine: a source shows itself as a snapshot; the options and the snapshot make a plan; the plan is
//! written once, front to back.
//!
//! - [`options`]: the table of all dump options, and the set of those that one dump was asked for.
//! - [`convert`]: one conversion from beginning to end, by way of [`select`], [`filter`], [`plan`] and [`execute`].
//! - [`sink`]: outputs. A file that appears whole or not at all, standard output, a pipe.
//! - [`verify`]: whether a dump is sound, and whether all that it kept is the same as in its source.
//!
//! ```
//! use dotdump_transcode::options::MiniOptions;
//!
//! let options: MiniOptions = "i".parse()?;
//! assert_eq!(options.mini_dump_type().bits(), 0x40);
//! # Ok::<(), dotdump_transcode::options::OptionsError>(())
//! ```
#![forbid(unsafe_code)]

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod block_sums;
pub mod convert;
pub mod exception;
pub mod execute;
pub mod filter;
pub mod machine;
pub mod manifest;
pub mod options;
mod pages;
mod pass_on;
pub mod plan;
pub mod readable;
pub mod report;
pub mod request;
mod runs;
pub mod select;
pub mod shortfall;
pub mod sink;
pub mod verify;
pub mod verify_machine;
pub mod words;

pub use convert::{Conversion, ConvertError, prepare, prepare_process, prepare_snapshot};
pub use request::Request;
