//! The handles of a process, with the types and names of their objects.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use dotdump_format::minidump::handle_data::{DESCRIPTOR_2_SIZE, Handle, HandleData, HandleDescriptor};
use dotdump_format::minidump::name::Name;
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::native::{Bytes, functions, growing, missing, raw};
use super::object_names::ObjectNames;

/// `ProcessHandleInformation`: those of one process, since Windows 8.
const PROCESS_HANDLES: u32 = 51;
/// `SystemExtendedHandleInformation`: those of all processes.
const SYSTEM_HANDLES: u32 = 64;
/// `ObjectBasicInformation`.
const BASIC: u32 = 0;
/// `ObjectTypeInformation`.
const TYPE: u32 = 2;
/// The most that is asked for, in bytes: a system has millions of handles at most.
const MOST: usize = 256 << 20;

/// What the system says of a handle without looking at its object.
struct Entry {
    handle: usize,
    attributes: u32,
    access: u32,
    /// The number of the object's type; means something within one list.
    kind: u32,
}

/// The handles of a process. What could not be had becomes a note.
pub(super) fn handles(process: &OwnedHandle, id: u32, notes: &mut Vec<String>) -> io::Result<HandleData> {
    let entries = of_process(process).or_else(|_| of_system(id))?;
    let mut names = ObjectNames::default();
    let mut kinds: HashMap<u32, Option<Name>> = HashMap::new();
    let mut without = 0_u64;
    let mut handles = Vec::with_capacity(entries.len());
    for entry in &entries {
        let mut handle = Handle {
            record: HandleDescriptor {
                handle: (entry.handle as u64).into(),
                attributes: entry.attributes.into(),
                granted_access: entry.access.into(),
                ..HandleDescriptor::default()
            },
            ..Handle::default()
        };
        match duplicate(process, entry.handle) {
            Ok(object) => describe(&mut handle, entry, object, &mut kinds, &mut names),
            Err(_) => {
                without += 1;
                // Others of its type may have told what that is.
                handle.type_name = kinds.get(&entry.kind).cloned().flatten();
            }
        }
        handles.push(handle);
    }
    if without > 0 {
        notes.push(format!(
            "{without} of {} handles cannot be duplicated: their objects have no names in the dump",
            entries.len()
        ));
    }
    if names.unanswered() > 0 {
        notes.push(format!(
            "{} objects did not tell their names in time, as pipes in use do not",
            names.unanswered()
        ));
    }
    Ok(HandleData {
        descriptor_size: DESCRIPTOR_2_SIZE,
        handles,
    })
}

fn describe(
    handle: &mut Handle,
    entry: &Entry,
    object: OwnedHandle,
    kinds: &mut HashMap<u32, Option<Name>>,
    names: &mut ObjectNames,
) {
    if let Some(basic) = information(object.as_handle(), BASIC) {
        // OBJECT_BASIC_INFORMATION: attributes, access, how many handles, how many pointers. The duplicate is one more.
        let less = |at: usize| basic.u32(at).unwrap_or(0).saturating_sub(1);
        handle.record.handle_count = less(8).into();
        handle.record.pointer_count = less(12).into();
    }
    let kind = kinds
        .entry(entry.kind)
        .or_insert_with(|| {
            let kind = information(object.as_handle(), TYPE)?.unicode_string(0)?;
            (!kind.is_empty()).then(|| Name::from(kind))
        })
        .clone();
    let name = names.of(object, kind.as_ref());
    handle.type_name = kind;
    handle.object_name = name.filter(|name| !name.is_empty()).map(Name::from);
}

/// What an object tells of itself.
pub(super) fn information(object: BorrowedHandle<'_>, class: u32) -> Option<Bytes> {
    /// More than any name takes, in bytes.
    const LONGEST: usize = 1 << 18;

    let query = functions().query_object?;
    let answer = growing(LONGEST, |buffer, size, length| {
        // SAFETY: the buffer is as large as it says, and the handle is open.
        unsafe { query(raw(object), class, buffer, size, length) }
    });
    answer.ok()
}

/// The same object under a handle of this process.
fn duplicate(process: &OwnedHandle, handle: usize) -> io::Result<OwnedHandle> {
    let mut own = ptr::null_mut();
    // SAFETY: the process is open; a handle of it that is no more is refused; the new one is written in place.
    let done = unsafe {
        DuplicateHandle(
            process.as_raw_handle(),
            ptr::without_provenance_mut::<std::ffi::c_void>(handle) as HANDLE,
            GetCurrentProcess(),
            &raw mut own,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(own) })
}

/// Asks the process alone: `PROCESS_HANDLE_SNAPSHOT_INFORMATION`.
fn of_process(process: &OwnedHandle) -> io::Result<Vec<Entry>> {
    const WORD: usize = size_of::<usize>();
    /// The number of handles and a reserved word; then of each the handle, two counts, access, type, attributes.
    const HEAD: usize = 2 * WORD;
    const ENTRY: usize = 3 * WORD + 16;

    let query = functions().query_information_process.ok_or_else(missing)?;
    let list = growing(MOST, |buffer, size, length| {
        // SAFETY: the buffer is as large as it says, and the handle is open.
        unsafe { query(raw(process.as_handle()), PROCESS_HANDLES, buffer, size, length) }
    })?;
    let count = list.word(0).unwrap_or(0).min(list.len() / ENTRY);
    let entries = (0..count).map_while(|index| {
        let at = HEAD + index * ENTRY;
        Some(Entry {
            handle: list.word(at)?,
            access: list.u32(at + 3 * WORD)?,
            kind: list.u32(at + 3 * WORD + 4)?,
            attributes: list.u32(at + 3 * WORD + 8)?,
        })
    });
    Ok(entries.collect())
}

/// Asks for those of all processes, and takes those of one: `SYSTEM_HANDLE_INFORMATION_EX`.
fn of_system(id: u32) -> io::Result<Vec<Entry>> {
    const WORD: usize = size_of::<usize>();
    /// The number of handles and a reserved word; then of each the object, the process, the handle, access, two words of
    /// 16 bits (a trace, the type), attributes, and a reserved number.
    const HEAD: usize = 2 * WORD;
    const ENTRY: usize = 3 * WORD + 16;

    let query = functions().query_system_information.ok_or_else(missing)?;
    let list = growing(MOST, |buffer, size, length| {
        // SAFETY: the buffer is as large as it says.
        unsafe { query(SYSTEM_HANDLES, buffer, size, length) }
    })?;
    let count = list.word(0).unwrap_or(0).min(list.len() / ENTRY);
    let mut entries = Vec::new();
    for at in (0..count).map(|index| HEAD + index * ENTRY) {
        let (Some(process), Some(handle), Some(access), Some(kind), Some(attributes)) = (
            list.word(at + WORD),
            list.word(at + 2 * WORD),
            list.u32(at + 3 * WORD),
            list.u32(at + 3 * WORD + 4),
            list.u32(at + 3 * WORD + 8),
        ) else {
            break;
        };
        if u32::try_from(process) == Ok(id) {
            entries.push(Entry {
                handle,
                attributes,
                access,
                kind: kind >> 16,
            });
        }
    }
    Ok(entries)
}
