//! Tests of dumps of machines: from pages and page tables to the bytes of a dump.

mod common;
mod header;
mod layouts;
mod selection;
#[cfg(unix)]
mod small;
#[cfg(unix)]
mod small_sources;
mod sums;
#[cfg(unix)]
mod synthetic;
mod tables;
