//! The `.dump` engine: a source shows itself as a snapshot; the options and the snapshot make a plan; the plan is
//! written once, front to back.
#![forbid(unsafe_code)]

pub mod convert;
pub mod execute;
pub mod filter;
pub mod manifest;
pub mod options;
pub mod plan;
pub mod report;
pub mod request;
pub mod select;
pub mod shortfall;
pub mod sink;
pub mod verify;
pub mod words;

pub use convert::{Conversion, ConvertError, prepare};
pub use request::Request;
