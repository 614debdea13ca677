//! Tests of the engine as a whole: from the bytes of a dump to the bytes of a dump.

mod big_endian;
mod common;
mod exception;
mod filter;
mod image_code;
mod linux;
mod selection;
