//! Windows minidumps (`MDMP`): the container and its streams.

mod directory;
mod flags;
mod header;
mod held;
#[cfg(test)]
mod list_tests;
mod stream_type;
mod string;
#[cfg(test)]
mod third_party_tests;

pub mod assertion_info;
pub mod breakpad_info;
pub mod codeview;
pub mod comment;
pub mod context;
pub mod crashpad_info;
pub mod exception;
pub mod function_table;
pub mod guid;
pub mod handle_data;
pub mod handle_operation_list;
pub mod linux_auxv;
pub mod linux_dso_debug;
pub mod linux_mapping;
pub mod linux_maps;
pub mod linux_text;
pub mod list;
pub mod memory64_list;
pub mod memory_info_list;
pub mod memory_list;
pub mod misc_info;
pub mod misc_record;
pub mod module_list;
pub mod mozilla;
pub mod name;
pub mod process_vm_counters;
pub mod system_info;
pub mod system_memory_info;
pub mod thread_ex_list;
pub mod thread_info_list;
pub mod thread_list;
pub mod thread_names;
pub mod token;
pub mod unloaded_module_list;

pub use directory::{
    DirectoryEntry, LocationDescriptor, Minidump, Stream, StreamContent, WriteStream, write_directory,
};
pub use flags::MiniDumpType;
pub use header::{Header, SIGNATURE, VERSION, VERSION_NUMBER};
pub use stream_type::StreamType;
pub use string::{MAX_STRING_BYTES, read_string, read_string_units, write_string, write_string_units};
