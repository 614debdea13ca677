//! The rows of the JSON document.

use std::fmt::Display;

use dotdump_format::Finding;
use dotdump_format::minidump::codeview::CodeView;
use dotdump_format::minidump::context::Context;
use dotdump_format::minidump::handle_data::Handle;
use dotdump_format::minidump::thread_info_list::ThreadInfo;
use dotdump_format::minidump::unloaded_module_list::UnloadedModule;
use dotdump_format::minidump::{Minidump, Stream};
use dotdump_snapshot::{Blob, ModuleSnapshot, ThreadSnapshot};
use serde::{Serialize, Serializer};

use super::names;
use super::opened::{Opened, Registers};

/// The bytes of a CodeView record that tell its id.
const HEAD: usize = 64;

/// A number in hexadecimal with `0x`.
#[derive(Clone, Copy)]
pub(super) struct Hex(pub(super) u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// What displays itself, as a string.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A list whose entries are made one after the other while they are written.
pub(super) struct Each<F>(pub(super) F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: IntoIterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// Something that the file has wrong.
#[derive(Serialize)]
pub(super) struct FindingRow<'a> {
    offset: Hex,
    what: &'a str,
    message: &'a str,
}

impl<'a> FindingRow<'a> {
    pub(super) fn of(finding: &'a Finding) -> Self {
        Self {
            offset: Hex(finding.offset.0),
            what: &finding.what,
            message: &finding.message,
        }
    }
}

/// A stream of the directory.
#[derive(Serialize)]
pub(super) struct StreamRow {
    #[serde(rename = "type")]
    stream_type: u32,
    name: Option<&'static str>,
    offset: Hex,
    size: u64,
}

impl StreamRow {
    pub(super) fn of(stream: &Stream<'_>) -> Self {
        Self {
            stream_type: stream.stream_type.0,
            name: stream.stream_type.name(),
            offset: Hex(stream.offset.0),
            size: stream.claimed_size,
        }
    }
}

/// A thread.
#[derive(Serialize)]
pub(super) struct ThreadRow {
    id: u32,
    name: Option<String>,
    suspend_count: u32,
    priority_class: u32,
    priority: u32,
    teb: Hex,
    stack: StackRow,
    context: Option<ContextRow>,
}

#[derive(Serialize)]
struct StackRow {
    start: Hex,
    size: u32,
    bytes: Option<u64>,
}

/// Registers.
#[derive(Serialize)]
pub(super) struct ContextRow {
    size: u64,
    flags: Option<Hex>,
    registers: Option<RegisterRows>,
    xstate_features: Vec<String>,
}

struct RegisterRows(Context);

impl Serialize for RegisterRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.general_registers().map(|(name, value)| (name, Text(value))))
    }
}

impl ContextRow {
    pub(super) fn of(registers: Registers) -> Self {
        Self {
            size: registers.size,
            flags: registers.context.as_ref().map(|context| Hex(context.flags().0.into())),
            registers: registers.context.map(RegisterRows),
            xstate_features: names::xstate(registers.xstate),
        }
    }
}

impl ThreadRow {
    pub(super) fn of(opened: &Opened<'_>, thread: &ThreadSnapshot) -> Self {
        let record = &thread.record;
        let id = record.thread_id.get();
        let stack = thread.stack();
        Self {
            id,
            name: opened.shared(opened.thread_name(id)),
            suspend_count: record.suspend_count.get(),
            priority_class: record.priority_class.get(),
            priority: record.priority.get(),
            teb: Hex(record.teb.get()),
            stack: StackRow {
                start: Hex(record.stack.start_of_memory_range.get()),
                size: record.stack.memory.data_size.get(),
                bytes: stack.map_or(Some(0), |stack| opened.stack_bytes(stack)),
            },
            context: opened.thread_registers(thread).map(ContextRow::of),
        }
    }
}

/// Times and start of a thread.
#[derive(Serialize)]
pub(super) struct ThreadInfoRow {
    id: u32,
    dump_flags: Hex,
    dump_error: Hex,
    exit_status: Hex,
    create_time: Hex,
    exit_time: Hex,
    kernel_time: Hex,
    user_time: Hex,
    start_address: Hex,
    affinity: Hex,
}

impl ThreadInfoRow {
    pub(super) fn of(info: &ThreadInfo) -> Self {
        Self {
            id: info.thread_id.get(),
            dump_flags: Hex(info.dump_flags.get().into()),
            dump_error: Hex(info.dump_error.get().into()),
            exit_status: Hex(info.exit_status.get().into()),
            create_time: Hex(info.create_time.get()),
            exit_time: Hex(info.exit_time.get()),
            kernel_time: Hex(info.kernel_time.get()),
            user_time: Hex(info.user_time.get()),
            start_address: Hex(info.start_address.get()),
            affinity: Hex(info.affinity.get()),
        }
    }
}

/// A loaded module.
#[derive(Serialize)]
pub(super) struct ModuleRow {
    name: Option<String>,
    base: Hex,
    size: u32,
    timestamp: u32,
    checksum: u32,
    debug_id: Option<String>,
    debug_file: Option<String>,
    code_id: Option<String>,
    version: Option<String>,
    product_version: Option<String>,
}

/// The CodeView record of a module, of which the first `limit` bytes are looked at.
fn code_view(opened: &Opened<'_>, module: &ModuleSnapshot, limit: usize) -> Option<CodeView> {
    let blob = module.cv_record.as_ref()?;
    let bytes = opened.keep(opened.snapshot.bytes(blob), "ModuleList.CvRecord")?;
    Some(CodeView::parse(
        &bytes[..limit.min(bytes.len())],
        opened.snapshot.endian(),
    ))
}

/// Which debug information belongs to a module. It stands at the start of the record.
pub(super) fn module_id(opened: &Opened<'_>, module: &ModuleSnapshot) -> Option<String> {
    debug_id(&code_view(opened, module, HEAD)?)
}

/// The id of a module's debug information. Breakpad writes zeros for files without one, and they name nothing.
fn debug_id(view: &CodeView) -> Option<String> {
    view.debug_id().filter(|id| id.bytes().any(|digit| digit != b'0'))
}

/// The version of a module's file, in the form in which writers of its system store it.
pub(super) fn file_version(opened: &Opened<'_>, module: &ModuleSnapshot) -> Option<String> {
    let info = &module.record.version_info;
    if is_linux(opened) {
        info.library_version().map(dotted)
    } else {
        info.file_version().map(dotted)
    }
}

fn is_linux(opened: &Opened<'_>) -> bool {
    opened.platform().is_some_and(|platform| platform.is_linux())
}

fn dotted(parts: [impl Display; 4]) -> String {
    let [major, minor, build, revision] = parts;
    format!("{major}.{minor}.{build}.{revision}")
}

impl ModuleRow {
    pub(super) fn of(opened: &Opened<'_>, module: &ModuleSnapshot) -> Self {
        let record = &module.record;
        // Many modules can point to one long record or name, which are then not looked at over and over.
        let record_size = module.cv_record.as_ref().map_or(0, Blob::size);
        let record_size = usize::try_from(record_size).unwrap_or(usize::MAX);
        let whole = opened.repeated(record_size, || code_view(opened, module, record_size));
        let view = whole.flatten();
        let id = match &view {
            Some(view) => debug_id(view),
            None => module_id(opened, module),
        };
        let units = module.name.as_ref().map(Vec::len);
        let name = units.and_then(|units| opened.repeated(units * 2, || module.name_text()));
        let debug_file = match &view {
            // The symbols of an ELF module are stored under its own name.
            Some(CodeView::ElfBuildId(_)) => name.clone(),
            Some(view) => view.debug_file().map(String::from),
            None => None,
        };
        let (timestamp, size) = (record.time_date_stamp.get(), record.size_of_image.get());
        let windows = opened.platform().is_some_and(|platform| platform.is_windows());
        let info = &record.version_info;
        let halves = |word: u32| [(word >> 16), word & 0xFFFF].map(|half| u16::try_from(half).unwrap_or_default());
        let ([major, minor], [build, revision]) = (
            halves(info.product_version_ms.get()),
            halves(info.product_version_ls.get()),
        );
        Self {
            name,
            base: Hex(record.base_of_image.get()),
            size,
            timestamp,
            checksum: record.check_sum.get(),
            debug_id: id,
            debug_file,
            code_id: match view.as_ref().and_then(CodeView::code_id) {
                Some(id) => Some(id),
                None => (windows && timestamp != 0).then(|| format!("{timestamp:08X}{size:x}")),
            },
            version: file_version(opened, module),
            // On Linux these words belong to the version of the file.
            product_version: (info.file_version().filter(|_| !is_linux(opened)))
                .map(|_| dotted([major, minor, build, revision])),
        }
    }
}

/// A module that was unloaded.
#[derive(Serialize)]
pub(super) struct UnloadedRow {
    name: Option<String>,
    base: Hex,
    size: u32,
    timestamp: u32,
    checksum: u32,
}

impl UnloadedRow {
    pub(super) fn of(opened: &Opened<'_>, module: &UnloadedModule) -> Self {
        let record = &module.record;
        Self {
            name: opened.shared(module.name.as_ref()),
            base: Hex(record.base_of_image.get()),
            size: record.size_of_image.get(),
            timestamp: record.time_date_stamp.get(),
            checksum: record.check_sum.get(),
        }
    }
}

/// A handle.
#[derive(Serialize)]
pub(super) struct HandleRow {
    handle: Hex,
    #[serde(rename = "type")]
    type_name: Option<String>,
    name: Option<String>,
    attributes: Hex,
    granted_access: Hex,
    handle_count: u32,
    pointer_count: u32,
}

impl HandleRow {
    pub(super) fn of(opened: &Opened<'_>, handle: &Handle) -> Self {
        let record = &handle.record;
        Self {
            handle: Hex(record.handle.get()),
            type_name: opened.shared(handle.type_name.as_ref()),
            name: opened.shared(handle.object_name.as_ref()),
            attributes: Hex(record.attributes.get().into()),
            granted_access: Hex(record.granted_access.get().into()),
            handle_count: record.handle_count.get(),
            pointer_count: record.pointer_count.get(),
        }
    }
}

/// The streams of a dump.
pub(super) fn streams<'a>(dump: &'a Minidump<'_>) -> impl Iterator<Item = StreamRow> + 'a {
    dump.streams().map(|stream| StreamRow::of(&stream))
}
