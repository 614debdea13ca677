//! The plan of a minidump: which streams it has, and where everything lies.
//!
//! The order in the file is that of Windows' writers: tables first, bulk memory last, so that a reader can map all but
//! the memory cheaply. The checksums come after everything that they cover.

mod contexts;
mod memory;
mod streams;

use dotdump_format::layout::{Layout, Piece, Plan};
use dotdump_format::minidump::list::reserve_list;
use dotdump_format::minidump::memory_list::MemoryDescriptor;
use dotdump_format::minidump::module_list::{self, OwnedModule};
use dotdump_format::minidump::thread_ex_list::ThreadEx;
use dotdump_format::minidump::thread_list::Thread;
use dotdump_format::minidump::{
    DirectoryEntry, Header, LocationDescriptor, MiniDumpType, StreamType, WriteStream, write_directory,
    write_string_units,
};
use dotdump_format::{Error, Findings, Record, VirtRange};
use dotdump_snapshot::{Blob, Memory, ModuleSnapshot, ProcessSnapshot};

use crate::filter::StackFilter;
use crate::manifest::{self, LeftOut, Manifest, hex16};
use crate::options::MiniOptions;
use crate::request::Request;
use crate::select::Selection;
use crate::shortfall::Shortfalls;
pub(crate) use contexts::misc_info_without_state;
use memory::MemoryLayout;

/// A planned dump.
#[derive(Debug)]
pub struct Planned {
    /// The pieces of the file.
    pub plan: Plan,
    /// The directory as it will be.
    pub directory: Vec<DirectoryEntry>,
    /// The flags in its header.
    pub flags: MiniDumpType,
    /// The memory that it holds, in file order.
    pub ranges: Vec<VirtRange>,
    /// Streams of the source that it does not take.
    pub left_out: Vec<LeftOut>,
    /// Module names that lost their folders.
    pub shortened_paths: u64,
}

/// What a dump is planned from.
#[derive(Clone)]
pub struct Ingredients<'a> {
    /// The source.
    pub snapshot: &'a dyn ProcessSnapshot,
    /// What was asked for.
    pub request: &'a Request,
    /// The memory to take it from: the source's, perhaps with code of images behind it.
    pub memory: &'a dyn Memory,
    /// Which memory goes into it.
    pub selection: &'a Selection,
    /// The privacy filter, where one was asked for.
    pub filter: Option<&'a StackFilter>,
    /// The manifest to put in, but for what the plan itself decides; `None` for none.
    pub manifest: Option<Manifest>,
}

/// Lays out the dump.
///
/// # Errors
/// [`Error::TooLarge`] where something does not fit a field of the format; [`Error::Read`] where the medium fails.
/// Damage in the source that costs a stream becomes a shortfall.
pub fn plan(ingredients: Ingredients<'_>, shortfalls: &mut Shortfalls) -> Result<Planned, Error> {
    let Ingredients {
        snapshot,
        memory,
        request,
        selection,
        filter,
        manifest,
    } = ingredients;
    let planner = Planner {
        snapshot,
        memory,
        request,
        selection,
        filter,
        layout: Layout::new(snapshot.endian()),
        directory: Vec::new(),
        left_out: Vec::new(),
        flags: kept_flags(snapshot) | selection.achieved,
        shortened_paths: 0,
    };
    planner.run(manifest, shortfalls)
}

/// Flags of the source that stay true of everything that is made from it: what was filtered out stays out.
fn kept_flags(snapshot: &dyn ProcessSnapshot) -> MiniDumpType {
    MiniDumpType::from_bits_retain(snapshot.header().flags.get())
        & (MiniDumpType::FILTER_MEMORY
            | MiniDumpType::FILTER_MODULE_PATHS
            | MiniDumpType::FILTER_TRIAGE
            | MiniDumpType::WITHOUT_OPTIONAL_DATA)
}

struct Planner<'a> {
    snapshot: &'a dyn ProcessSnapshot,
    memory: &'a dyn Memory,
    request: &'a Request,
    selection: &'a Selection,
    filter: Option<&'a StackFilter>,
    layout: Layout,
    directory: Vec<DirectoryEntry>,
    left_out: Vec<LeftOut>,
    flags: MiniDumpType,
    shortened_paths: u64,
}

impl Planner<'_> {
    fn options(&self) -> MiniOptions {
        self.request.options.mini
    }

    fn run(mut self, manifest: Option<Manifest>, shortfalls: &mut Shortfalls) -> Result<Planned, Error> {
        let memory = MemoryLayout::choose(
            self.snapshot,
            self.memory,
            self.selection,
            self.options(),
            self.flags,
            shortfalls,
        )?;
        self.flags.set(MiniDumpType::WITH_FULL_MEMORY, memory.is_64());
        self.flags.set(
            MiniDumpType::FILTER_MODULE_PATHS,
            self.flags.contains(MiniDumpType::FILTER_MODULE_PATHS)
                || self.options().contains(MiniOptions::FILTER_PATHS),
        );
        self.flags.set(
            MiniDumpType::FILTER_MEMORY,
            self.flags.contains(MiniDumpType::FILTER_MEMORY) || self.filter.is_some(),
        );
        if self.options().contains(MiniOptions::IGNORE_INACCESSIBLE) {
            self.flags |= MiniDumpType::IGNORE_INACCESSIBLE_MEMORY;
        }

        let header = self.layout.reserve(Header::SIZE);
        let choices = streams::choose(&mut self, shortfalls);
        // Threads, modules, memory list, system and exception are the planner's own; the rest comes as it is.
        let own = 3
            + usize::from(self.snapshot.system_info().is_some())
            + usize::from(self.snapshot.exception().is_some())
            + usize::from(manifest.is_some());
        let comment = usize::from(self.request.options.comment.is_some());
        let directory = self
            .layout
            .reserve((own + comment + choices.len()) * DirectoryEntry::SIZE);

        self.system_info()?;
        self.exception()?;
        let threads = self.threads()?;
        self.misc_info(&choices, shortfalls)?;
        self.modules()?;
        for stream_type in choices.iter().filter(|choice| **choice != StreamType::MISC_INFO) {
            self.carry(*stream_type, shortfalls)?;
        }
        self.comment()?;
        let manifest = self.manifest(manifest)?;
        let memory = memory.place(&mut self.layout)?;
        self.directory.push(memory.entry);
        self.fill_threads(threads, &memory)?;
        memory.push_data(&mut self.layout, self.memory, self.filter)?;
        self.checksums(manifest);

        self.directory
            .sort_by_key(|entry| streams::directory_rank(StreamType(entry.stream_type.get())));
        let record = Header {
            version: dotdump_format::minidump::VERSION_NUMBER.into(),
            time_date_stamp: self.snapshot.header().time_date_stamp,
            flags: self.flags.bits().into(),
            ..Header::default()
        };
        // Streams that turned out to be damaged leave their place in the directory unused.
        let mut entries = self.directory.clone();
        entries.resize(directory.size / DirectoryEntry::SIZE, DirectoryEntry::default());
        write_directory(&mut self.layout, header, directory, record, &entries)?;
        Ok(Planned {
            plan: self.layout.finish(),
            directory: self.directory,
            flags: self.flags,
            ranges: memory.ranges,
            left_out: self.left_out,
            shortened_paths: self.shortened_paths,
        })
    }

    fn list(&mut self, stream_type: StreamType, location: LocationDescriptor) {
        self.directory.push(DirectoryEntry {
            stream_type: stream_type.0.into(),
            location,
        });
    }

    fn system_info(&mut self) -> Result<(), Error> {
        let Some(info) = self.snapshot.system_info() else {
            return Ok(());
        };
        let mut info = *info;
        info.csd_version_rva = write_string_units(&mut self.layout, self.snapshot.csd_version())?
            .0
            .into();
        let location = info.write(&mut self.layout)?;
        self.list(StreamType::SYSTEM_INFO, location);
        Ok(())
    }

    fn exception(&mut self) -> Result<(), Error> {
        let Some((record, context)) = self.snapshot.exception() else {
            return Ok(());
        };
        let mut record = *record;
        record.thread_context = self.context(context)?;
        let location = record.write(&mut self.layout)?;
        self.list(StreamType::EXCEPTION, location);
        Ok(())
    }

    /// Places the contexts of all threads and makes room for the list, which is filled when the stacks have their
    /// places.
    fn threads(&mut self) -> Result<ThreadRoom, Error> {
        let threads = self.snapshot.threads();
        let extended = threads.iter().any(|thread| thread.backing_store.is_some());
        let (stream_type, (room, location)) = if extended {
            (
                StreamType::THREAD_EX_LIST,
                reserve_list::<ThreadEx>(&mut self.layout, threads.len(), "ThreadExList")?,
            )
        } else {
            (
                StreamType::THREAD_LIST,
                reserve_list::<Thread>(&mut self.layout, threads.len(), "ThreadList")?,
            )
        };
        self.list(stream_type, location);
        let mut contexts = Vec::with_capacity(threads.len());
        for thread in threads {
            contexts.push(self.context(thread.context.as_ref())?);
        }
        Ok(ThreadRoom {
            room,
            contexts,
            extended,
        })
    }

    fn fill_threads(&mut self, threads: ThreadRoom, memory: &memory::PlacedMemory) -> Result<(), Error> {
        let stride = if threads.extended { ThreadEx::SIZE } else { Thread::SIZE };
        let all = self
            .snapshot
            .threads()
            .iter()
            .zip(&self.selection.stacks)
            .zip(threads.contexts);
        for (index, ((thread, stack), context)) in all.enumerate() {
            let mut record = thread.record;
            record.thread_context = context;
            record.stack = stack
                .kept
                .and_then(|kept| memory.descriptor(kept))
                .unwrap_or(MemoryDescriptor {
                    start_of_memory_range: record.stack.start_of_memory_range,
                    memory: LocationDescriptor::default(),
                });
            let at = 4 + index * stride;
            if threads.extended {
                let store = thread
                    .backing_store
                    .and_then(|store| memory.descriptor(store))
                    .unwrap_or_default();
                self.layout.fill_record(
                    threads.room,
                    at,
                    &ThreadEx {
                        thread: record,
                        backing_store: store,
                    },
                );
            } else {
                self.layout.fill_record(threads.room, at, &record);
            }
        }
        Ok(())
    }

    /// Comes after the contexts: it describes their extended state, if they have any.
    fn misc_info(&mut self, choices: &[StreamType], shortfalls: &mut Shortfalls) -> Result<(), Error> {
        if !choices.contains(&StreamType::MISC_INFO) {
            return Ok(());
        }
        let mut findings = Findings::default();
        let misc = self.snapshot.misc_info(&mut findings)?;
        if let Some(finding) = findings.as_slice().first() {
            shortfalls.warn("-m", format!("the source is damaged: {finding}"));
        }
        let Some(misc) = misc else { return Ok(()) };
        let keeps_state = self.flags.contains(MiniDumpType::WITH_AVX_XSTATE_CONTEXT);
        self.layout.align(8);
        let location = contexts::misc_info(misc, keeps_state).write(&mut self.layout)?;
        self.list(StreamType::MISC_INFO, location);
        Ok(())
    }

    fn modules(&mut self) -> Result<(), Error> {
        let mut modules = Vec::with_capacity(self.snapshot.modules().len());
        for module in self.snapshot.modules() {
            modules.push(self.module(module));
        }
        let location = module_list::write(&mut self.layout, &modules)?;
        self.list(StreamType::MODULE_LIST, location);
        Ok(())
    }

    fn module(&mut self, module: &ModuleSnapshot) -> OwnedModule {
        // Every reader wants a name that it can read, and some lose the whole list without one.
        let mut name = module.name.clone().unwrap_or_default();
        if self.options().contains(MiniOptions::FILTER_PATHS) {
            let last = name
                .iter()
                .rposition(|unit| *unit == u16::from(b'\\') || *unit == u16::from(b'/'));
            if let Some(last) = last {
                name.drain(..=last);
                self.shortened_paths += 1;
            }
        }
        OwnedModule {
            record: module.record,
            name,
            cv_record: module.cv_record.as_ref().map(Blob::to_piece),
            misc_record: module.misc_record.as_ref().map(Blob::to_piece),
        }
    }

    /// Carries a stream that has nothing to do with the choice of memory.
    fn carry(&mut self, stream_type: StreamType, shortfalls: &mut Shortfalls) -> Result<(), Error> {
        let mut findings = Findings::default();
        let content = match self.snapshot.stream(stream_type, &mut findings) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(()),
            Err(Error::Malformed(finding)) => {
                shortfalls.warn(
                    "-m",
                    format!("the stream {stream_type} is damaged and was left out: {finding}"),
                );
                self.left_out
                    .push(streams::left_out(stream_type, "damaged in the source"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !findings.is_empty() {
            shortfalls.warn(
                "-m",
                format!("the stream {stream_type} is damaged in {} places", findings.total()),
            );
        }
        let location = streams::place(content, &mut self.layout, stream_type)?;
        self.flags |= streams::flag_of(stream_type);
        self.list(stream_type, location);
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Error> {
        let Some(text) = &self.request.options.comment else {
            return Ok(());
        };
        let comment = dotdump_format::minidump::comment::CommentW::from(text.as_str());
        let location = comment.write(&mut self.layout)?;
        self.list(StreamType::COMMENT_W, location);
        Ok(())
    }

    /// Makes room for the manifest. Its text is known now but for one number of fixed width.
    fn manifest(
        &mut self,
        manifest: Option<Manifest>,
    ) -> Result<Option<(Manifest, dotdump_format::layout::Reservation)>, Error> {
        let Some(mut manifest) = manifest else { return Ok(None) };
        if manifest.left_out.is_empty() {
            manifest.left_out.clone_from(&self.left_out);
        }
        manifest.checksums.offset = hex16(0);
        self.layout.align(4);
        let room = self.layout.reserve(manifest.to_bytes().len());
        let location = self.layout.location(room.offset, room.size as u64, "DotdumpManifest")?;
        self.list(StreamType::DOTDUMP_MANIFEST, location);
        Ok(Some((manifest, room)))
    }

    fn checksums(&mut self, manifest: Option<(Manifest, dotdump_format::layout::Reservation)>) {
        let Some((mut manifest, room)) = manifest else { return };
        let end = self.layout.end().0;
        let block = manifest::BLOCK;
        manifest.checksums.offset = hex16(end);
        self.layout.fill(room, 0, &manifest.to_bytes());
        self.layout.push(Piece::Checksums {
            block,
            size: end.div_ceil(block) * 4,
        });
    }
}

/// Room for the list of threads.
struct ThreadRoom {
    room: dotdump_format::layout::Reservation,
    contexts: Vec<LocationDescriptor>,
    extended: bool,
}
