//! The modules, as the dynamic linker has them.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use serde_json::{Value, json};

use crate::run::hex;

/// Loads a library, and removes its file.
pub(crate) fn load_and_delete(path: &Path) -> Value {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the library was made for this and its initializers do nothing.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{}", path.display());
    // SAFETY: the handle is valid.
    let symbol = unsafe { libc::dlsym(library, c"known_value".as_ptr()) };
    assert!(!symbol.is_null(), "known_value");
    std::fs::remove_file(path).expect("the library's file");
    json!({ "path": path, "known_value": hex(symbol as u64) })
}

/// All of them: where they start, where they end, their path (empty for the program itself) and the build id that lies
/// in their memory.
pub(crate) fn list() -> Value {
    let mut modules: Vec<Value> = Vec::new();
    // SAFETY: the callback gets the pointer that it expects, and it lives as long as the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut modules).cast()) };
    Value::Array(modules)
}

unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the linker gives a valid record, and `list` the vector.
    let (info, modules) = unsafe { (&*info, &mut *data.cast::<Vec<Value>>()) };
    // SAFETY: as above: the program headers are in memory.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    // SAFETY: the name is a C string.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) };
    let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let start = loaded().map(|header| header.p_vaddr).min().unwrap_or(0);
    let end = loaded()
        .map(|header| header.p_vaddr + header.p_memsz)
        .max()
        .unwrap_or(0);
    let notes = headers.iter().filter(|header| header.p_type == libc::PT_NOTE);
    let build_id = notes.into_iter().find_map(|header| {
        let at =
            ptr::with_exposed_provenance::<u8>(usize::try_from(info.dlpi_addr + header.p_vaddr).expect("an address"));
        // SAFETY: the segment is mapped.
        let bytes = unsafe { std::slice::from_raw_parts(at, usize::try_from(header.p_memsz).expect("a size")) };
        build_id(bytes)
    });
    modules.push(json!({
        "path": name.to_string_lossy(),
        "start": hex(info.dlpi_addr + start),
        "end": hex(info.dlpi_addr + end),
        "build_id": build_id,
    }));
    0
}

/// The GNU build id (type 3, name `GNU`) among ELF notes.
fn build_id(mut notes: &[u8]) -> Option<String> {
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    loop {
        let (name_size, size, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let (name, start) = (notes.get(12..12 + name_size)?, 12 + name_size.next_multiple_of(4));
        let content = notes.get(start..start + size)?;
        if kind == 3 && name == b"GNU\0" {
            return Some(content.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(start + size.next_multiple_of(4)..)?;
    }
}
