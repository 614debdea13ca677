//! Windows minidumps (`MDMP`): the container and its streams.

mod directory;
mod flags;
mod header;
mod stream_type;
mod string;

pub mod context;
pub mod exception;
pub mod list;
pub mod memory64_list;
pub mod memory_list;
pub mod module_list;
pub mod system_info;
pub mod thread_list;

pub use directory::{
    DirectoryEntry, LocationDescriptor, Minidump, Stream, StreamContent, WriteStream, write_directory,
};
pub use flags::MiniDumpType;
pub use header::{Header, SIGNATURE, VERSION};
pub use stream_type::StreamType;
pub use string::{MAX_STRING_BYTES, read_string, read_string_units, write_string, write_string_units};
