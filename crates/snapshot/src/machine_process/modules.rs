//! Modules, by the loader's lists in the environment block of a process.

use std::collections::HashSet;

use dotdump_format::kernel::Machine;
use dotdump_format::minidump::module_list::Module;
use dotdump_format::pe::{
    DOS_SIGNATURE, DataDirectory, E_LFANEW, FileHeader, NT_SIGNATURE, OPTIONAL_HEADER_32, OPTIONAL_HEADER_64,
    OptionalHeader32, OptionalHeader64,
};
use dotdump_format::{Endian, Record, VirtAddr};

use super::Notes;
use crate::machine::{KernelReader, Process};
use crate::process::{Blob, ModuleSnapshot};

/// More modules than any process has.
const MOST_MODULES: usize = 10_000;
/// The longest CodeView record that is taken, in bytes.
const LONGEST_RECORD: u32 = 32_768;

/// Where fields are, in bytes: `PEB`, `PEB_LDR_DATA` and `LDR_DATA_TABLE_ENTRY` of public symbols, the same in all
/// versions of Windows.
struct Layout {
    ldr: u64,
    load_order: u64,
    dll_base: u64,
    size_of_image: u64,
    full_dll_name: u64,
    time_date_stamp: u64,
}

const LAYOUT_64: Layout = Layout {
    ldr: 0x18,
    load_order: 0x10,
    dll_base: 0x30,
    size_of_image: 0x40,
    full_dll_name: 0x48,
    time_date_stamp: 0x80,
};

const LAYOUT_32: Layout = Layout {
    ldr: 0x0C,
    load_order: 0x0C,
    dll_base: 0x18,
    size_of_image: 0x20,
    full_dll_name: 0x24,
    time_date_stamp: 0x44,
};

/// The modules of a process whose memory is `user`, in load order; those of 32 bits on a 64-bit system last.
pub(super) fn modules(
    process: &Process,
    user: &KernelReader<'_>,
    tebs: &[VirtAddr],
    notes: &mut Notes,
) -> Vec<ModuleSnapshot> {
    let mut bases = HashSet::new();
    let mut modules = Vec::new();
    if process.peb.0 != 0 {
        read_list(user, process.peb, &mut bases, &mut modules);
    }
    if modules.is_empty() && process.peb.0 != 0 {
        let program = program(process, user);
        notes.add(match &program {
            Some(_) => "the loader's list of modules is not in memory: the program alone is known, by its header",
            None => "the loader's list of modules is not in memory",
        });
        modules.extend(program);
    }
    if user.machine() == Machine::X86 {
        return modules;
    }
    let narrow = KernelReader::new(user.memory(), Machine::X86);
    if let Some(peb) = tebs.iter().find_map(|teb| wow64_peb(&narrow, *teb)) {
        let before = modules.len();
        read_list(&narrow, peb, &mut bases, &mut modules);
        notes.add(format!(
            "the process runs 32-bit code: its {} modules of 32 bits are found through the environment block at {peb}, \
             0x2000 bytes behind a thread's own",
            modules.len() - before
        ));
    }
    modules
}

/// The program itself, by the base that the environment block names and the name that the kernel has.
fn program(process: &Process, user: &KernelReader<'_>) -> Option<ModuleSnapshot> {
    let at = user.at(process.peb, 2 * user.pointer_size());
    let image = Image::read(user, user.pointer(at).filter(|base| base.0 != 0)?)?;
    Some(ModuleSnapshot {
        record: Module {
            base_of_image: image.base.0.into(),
            size_of_image: image.size.into(),
            time_date_stamp: image.time_date_stamp.into(),
            check_sum: image.checksum.into(),
            ..Module::default()
        },
        name: Some(process.name.encode_utf16().collect()),
        cv_record: image.code_view(user).map(Blob::Bytes),
        misc_record: None,
    })
}

/// The 32-bit environment block that a 32-bit thread environment block refers to. That one lies behind the thread's
/// 64-bit one, and knows its own address.
fn wow64_peb(narrow: &KernelReader<'_>, teb: VirtAddr) -> Option<VirtAddr> {
    let teb = teb
        .checked_add(0x2000)
        .filter(|teb| teb.0 > 0x2000 && teb.0 <= u64::from(u32::MAX))?;
    (narrow.pointer(narrow.at(teb, 0x18))? == teb)
        .then(|| narrow.pointer(narrow.at(teb, 0x30)))
        .flatten()
        .filter(|peb| peb.0 != 0)
}

fn read_list(user: &KernelReader<'_>, peb: VirtAddr, bases: &mut HashSet<u64>, modules: &mut Vec<ModuleSnapshot>) {
    const WHAT: &str = "InLoadOrderModuleList";

    let layout = if user.machine() == Machine::X86 {
        &LAYOUT_32
    } else {
        &LAYOUT_64
    };
    let Some(ldr) = user.pointer(user.at(peb, layout.ldr)).filter(|ldr| ldr.0 != 0) else {
        return;
    };
    let head = user.at(ldr, layout.load_order);
    let mut seen = HashSet::from([head]);
    let mut entry = head;
    loop {
        let Some(next) = user.pointer(entry) else {
            user.note(entry, WHAT, format!("the list ends at {entry}, which is not in memory"));
            return;
        };
        if next == head {
            return;
        }
        if !seen.insert(next) || seen.len() > MOST_MODULES {
            user.note(
                entry,
                WHAT,
                format!("the list leads from {entry} to {next} and not to its head {head}"),
            );
            return;
        }
        entry = next;
        let Some(base) = user.pointer(user.at(entry, layout.dll_base)).filter(|base| base.0 != 0) else {
            continue;
        };
        // On WOW64 the program itself is in both lists.
        if bases.insert(base.0) {
            modules.push(module(user, entry, base, layout));
        }
    }
}

fn module(user: &KernelReader<'_>, entry: VirtAddr, base: VirtAddr, layout: &Layout) -> ModuleSnapshot {
    let mut record = Module {
        base_of_image: base.0.into(),
        ..Module::default()
    };
    let number = |offset: u64| user.u32(user.at(entry, offset)).unwrap_or(0);
    let image = Image::read(user, base);
    let (size, time) = (number(layout.size_of_image), number(layout.time_date_stamp));
    match &image {
        Some(image) => {
            record.size_of_image = if size == 0 { image.size } else { size }.into();
            record.time_date_stamp = image.time_date_stamp.into();
            record.check_sum = image.checksum.into();
        }
        None => {
            record.size_of_image = size.into();
            record.time_date_stamp = time.into();
            user.note(
                base,
                "module",
                format!("the header of the image at {base} is not in memory"),
            );
        }
    }
    let name = user.at(entry, layout.full_dll_name);
    let name = user
        .u16(name)
        .zip(user.pointer(user.at(name, user.pointer_size())))
        .and_then(|(length, buffer)| user.utf16(buffer, length));
    ModuleSnapshot {
        record,
        name,
        cv_record: image.and_then(|image| image.code_view(user)).map(Blob::Bytes),
        misc_record: None,
    }
}

/// What of an image's header a module needs.
struct Image {
    base: VirtAddr,
    size: u32,
    checksum: u32,
    time_date_stamp: u32,
    /// RVA and size of the debug directory.
    debug: (u32, u32),
}

impl Image {
    fn read(user: &KernelReader<'_>, base: VirtAddr) -> Option<Self> {
        /// Headers lie in the first page, or they are not Windows'.
        const HEADERS: usize = 0x1000;
        /// `IMAGE_DIRECTORY_ENTRY_DEBUG`.
        const DEBUG: usize = 6;

        let page = user.bytes(base, HEADERS);
        if !page.starts_with(&DOS_SIGNATURE) {
            return None;
        }
        let lfanew = u32::from_le_bytes(*page.get(E_LFANEW..)?.first_chunk()?);
        let nt = page.get(usize::try_from(lfanew).ok()?..)?;
        let file = FileHeader::read(nt.strip_prefix(&NT_SIGNATURE)?, Endian::Little)?;
        let optional = nt.get(NT_SIGNATURE.len() + FileHeader::SIZE..)?;
        let (size, checksum, fixed, count) = match u16::from_le_bytes(*optional.first_chunk()?) {
            OPTIONAL_HEADER_32 => {
                let header = OptionalHeader32::read(optional, Endian::Little)?;
                let fixed = OptionalHeader32::SIZE;
                (
                    header.size_of_image,
                    header.check_sum,
                    fixed,
                    header.number_of_rva_and_sizes,
                )
            }
            OPTIONAL_HEADER_64 => {
                let header = OptionalHeader64::read(optional, Endian::Little)?;
                let fixed = OptionalHeader64::SIZE;
                (
                    header.size_of_image,
                    header.check_sum,
                    fixed,
                    header.number_of_rva_and_sizes,
                )
            }
            _ => return None,
        };
        let debug = optional
            .get(fixed + DEBUG * DataDirectory::SIZE..)
            .filter(|_| usize::try_from(count.get()).is_ok_and(|count| count > DEBUG))
            .and_then(|bytes| DataDirectory::read(bytes, Endian::Little))
            .unwrap_or_default();
        Some(Self {
            base,
            size: size.get(),
            checksum: checksum.get(),
            time_date_stamp: file.time_date_stamp.get(),
            debug: (debug.virtual_address.get(), debug.size.get()),
        })
    }

    /// The CodeView record; `None` where the image has none, or it is not in memory.
    fn code_view(&self, user: &KernelReader<'_>) -> Option<Vec<u8>> {
        /// `IMAGE_DEBUG_DIRECTORY`: its size, and where its type, the record's size and its RVA are.
        const ENTRY: u32 = 28;
        const TYPE: u64 = 12;
        const SIZE: u64 = 16;
        const RVA: u64 = 20;
        /// `IMAGE_DEBUG_TYPE_CODEVIEW`.
        const CODE_VIEW: u32 = 2;
        /// Linkers write a handful.
        const MOST: u32 = 64;

        let within = |rva: u32, size: u32| rva != 0 && rva.checked_add(size).is_some_and(|end| end <= self.size);
        let (directory, size) = self.debug;
        for index in 0..(size / ENTRY).min(MOST) {
            let rva = directory.checked_add(index * ENTRY).filter(|rva| within(*rva, ENTRY))?;
            let entry = user.at(self.base, u64::from(rva));
            if user.u32(user.at(entry, TYPE))? != CODE_VIEW {
                continue;
            }
            let size = user.u32(user.at(entry, SIZE))?.min(LONGEST_RECORD);
            let rva = user.u32(user.at(entry, RVA)).filter(|rva| within(*rva, size))?;
            let size = usize::try_from(size).ok()?;
            let bytes = user.bytes(user.at(self.base, u64::from(rva)), size);
            return (bytes.len() == size && size > 0).then_some(bytes);
        }
        None
    }
}
