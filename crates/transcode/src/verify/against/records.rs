//! Threads, registers, modules, exception and system of a dump and its source.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use dotdump_format::minidump::LocationDescriptor;
use dotdump_format::minidump::context::ContextKind;
use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::module_list::Module;
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{MiniDumpType, WriteStream};
use dotdump_format::{Error, Findings};
use dotdump_snapshot::{Blob, ModuleSnapshot, ThreadSnapshot};

use super::{Against, Side, content};
use crate::plan::misc_info_without_state;

/// Things by a number that should be unique. Where it is not, they are taken in the order of the source.
struct ByNumber<'a, T>(BTreeMap<u64, VecDeque<&'a T>>);

impl<'a, T> ByNumber<'a, T> {
    fn new(all: &'a [T], number: impl Fn(&T) -> u64) -> Self {
        let mut map = BTreeMap::<u64, VecDeque<&T>>::new();
        for one in all {
            map.entry(number(one)).or_default().push_back(one);
        }
        Self(map)
    }

    fn take(&mut self, number: u64) -> Option<&'a T> {
        self.0.get_mut(&number)?.pop_front()
    }

    fn left(&self) -> u64 {
        self.0.values().map(|all| all.len() as u64).sum()
    }
}

pub(super) fn threads(dump: Side<'_>, source: Side<'_>, report: &mut Against) -> Result<(), Error> {
    let id = |thread: &ThreadSnapshot| u64::from(thread.record.thread_id.get());
    let mut originals = ByNumber::new(source.threads(), id);
    for thread in dump.threads() {
        let what = format!("thread {:#x}", thread.record.thread_id);
        let Some(original) = originals.take(id(thread)) else {
            report.differ(what, "the source has no such thread");
            continue;
        };
        for (field, mine, theirs) in thread_fields(&thread.record, &original.record) {
            if mine != theirs {
                report.differ(
                    format!("{what}: {field}"),
                    format!("{mine:#x}, {theirs:#x} in the source"),
                );
            }
        }
        let contexts = (thread.context.as_ref(), original.context.as_ref());
        registers((dump, contexts.0), (source, contexts.1), &what, report)?;
        if thread.backing_store.is_some() && original.backing_store.is_none() {
            report.differ(what, "the source has no backing store");
        }
    }
    report.left_out.threads = originals.left();
    Ok(())
}

/// The fields of a thread that do not depend on the file.
fn thread_fields(mine: &Thread, theirs: &Thread) -> [(&'static str, u64, u64); 4] {
    let pair = |name, get: fn(&Thread) -> u64| (name, get(mine), get(theirs));
    [
        pair("SuspendCount", |thread| u64::from(thread.suspend_count.get())),
        pair("PriorityClass", |thread| u64::from(thread.priority_class.get())),
        pair("Priority", |thread| u64::from(thread.priority.get())),
        pair("Teb", |thread| thread.teb.get()),
    ]
}

/// A context, and the dump that it is of.
type Registers<'a> = (Side<'a>, Option<&'a Blob>);

fn registers(
    (dump, mine): Registers<'_>,
    (source, theirs): Registers<'_>,
    what: &str,
    report: &mut Against,
) -> Result<(), Error> {
    let (mine, theirs) = match (mine, theirs) {
        (None, None) => return Ok(()),
        (Some(mine), Some(theirs)) => (dump.process.bytes(mine)?, source.process.bytes(theirs)?),
        (None, Some(_)) => {
            report.differ(what, "has no registers, but does in the source");
            return Ok(());
        }
        (Some(_), None) => {
            report.differ(what, "has registers, but none in the source");
            return Ok(());
        }
    };
    let kind = ContextKind::of(&theirs, source.architecture(), source.endian());
    let Some(kind) = kind.filter(|kind| mine.len() >= kind.base_size()) else {
        if mine != theirs {
            report.differ(what, "registers of an unknown layout differ");
        }
        return Ok(());
    };
    let (mine, theirs) = (without_state(dump, kind, mine), without_state(source, kind, theirs));
    let size = kind.base_size();
    if mine[..size] != theirs[..size] {
        let names = differing_registers(dump, kind, &mine, &theirs);
        report.differ(what, format!("registers differ: {names}"));
    }
    // Extended state may be left out as a whole.
    if mine.len() > size && mine[size..] != theirs[size..] {
        report.differ(what, "the extended state differs");
    }
    Ok(())
}

/// The context without the bits that tell how it came about and whether more follows.
fn without_state<'a>(dump: Side<'_>, kind: ContextKind, context: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    let endian = dump.endian();
    let Some(flags) = kind.flags_of(&context, endian) else {
        return context;
    };
    let plain = flags.without_state(kind).without_xstate(kind);
    if plain == flags {
        return context;
    }
    let mut bytes = context.into_owned();
    kind.set_flags_of(&mut bytes, endian, plain);
    Cow::Owned(bytes)
}

/// The names of the registers whose values differ, the first few.
fn differing_registers(dump: Side<'_>, kind: ContextKind, mine: &[u8], theirs: &[u8]) -> String {
    const TOLD: usize = 8;
    let read = |bytes| dotdump_format::minidump::context::Context::read_as(bytes, kind, dump.endian());
    let (Some(mine), Some(theirs)) = (read(mine), read(theirs)) else {
        return String::new();
    };
    let pairs = mine.registers().zip(theirs.registers());
    let mut names: Vec<String> = pairs
        .filter(|((_, mine), (_, theirs))| mine != theirs)
        .take(TOLD)
        .map(|((name, mine), (_, theirs))| format!("{name} {mine}, {theirs} in the source"))
        .collect();
    if names.is_empty() {
        names.push("in bytes that no register has".to_owned());
    }
    names.join("; ")
}

pub(super) fn exception(dump: Side<'_>, source: Side<'_>, report: &mut Against) -> Result<(), Error> {
    let Some((mine, my_context)) = dump.exception() else {
        return Ok(());
    };
    let Some((theirs, their_context)) = source.exception() else {
        report.differ("Exception", "the source has none");
        return Ok(());
    };
    let plain = |record: &ExceptionStream| ExceptionStream {
        thread_context: LocationDescriptor::default(),
        ..*record
    };
    if plain(mine) != plain(theirs) {
        report.differ("Exception", "another thread, code, address or parameters in the source");
    }
    registers((dump, my_context), (source, their_context), "Exception", report)
}

pub(super) fn modules(dump: Side<'_>, source: Side<'_>, report: &mut Against) -> Result<(), Error> {
    let base = |module: &ModuleSnapshot| module.record.base_of_image.get();
    let mut originals = ByNumber::new(source.modules(), base);
    let short = dump.flags().contains(MiniDumpType::FILTER_MODULE_PATHS);
    for module in dump.modules() {
        let what = format!("module {} at {:#x}", module.name_text(), module.record.base_of_image);
        let Some(original) = originals.take(base(module)) else {
            report.differ(what, "the source has no such module");
            continue;
        };
        let plain = |record: &Module| Module {
            module_name_rva: 0.into(),
            cv_record: LocationDescriptor::default(),
            misc_record: LocationDescriptor::default(),
            ..*record
        };
        if plain(&module.record) != plain(&original.record) {
            report.differ(&what, "another size, checksum, time stamp or version in the source");
        }
        let mine = module.name.as_deref().unwrap_or_default();
        let theirs = original.name.as_deref().unwrap_or_default();
        if mine != theirs {
            if short && mine == last_component(theirs) {
                report.erased.module_paths += 1;
            } else {
                report.differ(&what, format!("its name is {} in the source", original.name_text()));
            }
        }
        let records = [
            ("CvRecord", &module.cv_record, &original.cv_record),
            ("MiscRecord", &module.misc_record, &original.misc_record),
        ];
        for (field, mine, theirs) in records {
            if bytes_of(dump, mine.as_ref())? != bytes_of(source, theirs.as_ref())? {
                report.differ(format!("{what}: {field}"), "other bytes in the source");
            }
        }
    }
    report.left_out.modules = originals.left();
    Ok(())
}

fn bytes_of<'a>(side: Side<'a>, blob: Option<&'a Blob>) -> Result<Option<Cow<'a, [u8]>>, Error> {
    blob.map(|blob| side.process.bytes(blob)).transpose()
}

/// The part of a path after its last separator.
fn last_component(path: &[u16]) -> &[u16] {
    let separator = |unit: &u16| *unit == u16::from(b'\\') || *unit == u16::from(b'/');
    path.iter().rposition(separator).map_or(path, |last| &path[last + 1..])
}

pub(super) fn system_info(dump: Side<'_>, source: Side<'_>, report: &mut Against) {
    let Some(mut mine) = dump.system_info().copied() else {
        return;
    };
    let Some(mut theirs) = source.system_info().copied() else {
        report.differ("SystemInfo", "the source has none");
        return;
    };
    mine.csd_version_rva = 0.into();
    theirs.csd_version_rva = 0.into();
    if mine != theirs {
        report.differ("SystemInfo", "another processor or system in the source");
    }
    if dump.csd_version() != source.csd_version() {
        report.differ("SystemInfo.CSDVersion", "another text in the source");
    }
}

pub(super) fn misc_info(dump: Side<'_>, source: Side<'_>, report: &mut Against) -> Result<(), Error> {
    let mut scratch = Findings::default();
    let Some(mine) = dump.misc_info(&mut scratch)? else {
        return Ok(());
    };
    let Some(mut theirs) = source.misc_info(&mut scratch)? else {
        report.differ("MiscInfo", "the source has none");
        return Ok(());
    };
    // Without extended state in the contexts, its description is left out.
    if !dump.flags().contains(MiniDumpType::WITH_AVX_XSTATE_CONTEXT) {
        theirs = misc_info_without_state(theirs);
    }
    let (mine, theirs): (Box<dyn WriteStream>, Box<dyn WriteStream>) = (Box::new(mine), Box::new(theirs));
    if let Some(difference) = content::compare_typed((dump, mine.as_ref()), (source, theirs.as_ref()))? {
        report.differ("MiscInfo", difference);
    }
    Ok(())
}
