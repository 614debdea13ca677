//! The `.dump` engine: what WinDbg's command takes as options, and where its result goes.
//!
//! - [`options`]: the table of all dump options, and the set of those that one dump was asked for.
//! - [`sink`]: outputs. A file that appears whole or not at all, standard output, a pipe.
//!
//! ```
//! use dotdump_transcode::options::MiniOptions;
//!
//! let options: MiniOptions = "i".parse()?;
//! assert_eq!(options.mini_dump_type().bits(), 0x40);
//! # Ok::<(), dotdump_transcode::options::OptionsError>(())
//! ```
#![forbid(unsafe_code)]

pub mod options;
pub mod sink;
