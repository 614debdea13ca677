//! Kdump files: compressed memory of a machine, as QEMU (`kdump-zlib` and its like) and makedumpfile write it, plain or
//! flattened.
//!
//! Opening one reads the headers, the notes and the bitmap of pages; of a flattened one the headers of all its records.
//! Page descriptors stay in the file. A page that makedumpfile left out because it was zero, free or a user's is not
//! there: the file does not say which of these it was.

mod flattened;
mod header;
mod page_data;
mod rank;

use dotdump_format::core_note::QemuCpuState;
use dotdump_format::kdump::{PageDescriptor, STATUS_INCOMPLETE};
use dotdump_format::kernel::{Header, Machine};
use dotdump_format::{Endian, Error, FileOffset, Findings, PAGE_SIZE, Pfn, PhysAddr, ReadAt, Record};

use self::flattened::Flattened;
use self::header::Headers;
use self::page_data::{PAGE, PageCache};
use self::rank::RankedBitmap;
use crate::core_notes::{CoreNotes, CpuRegisters, CpuState};
use crate::detect::{Container, detect};
use crate::physical::{PagePlace, PageRun, PhysicalMemory};

/// Text and headers above this size in bytes are not looked at.
const LARGEST_VMCOREINFO: u64 = 1 << 20;

/// Descriptors that are looked at for one run.
const DESCRIPTORS: u64 = 256;

/// The file, or what a flattened one stands for.
enum Source<'a> {
    Plain(&'a dyn ReadAt),
    Flattened(Flattened<&'a dyn ReadAt>),
}

impl Source<'_> {
    fn reader(&self) -> &dyn ReadAt {
        match self {
            Self::Plain(source) => *source,
            Self::Flattened(source) => source,
        }
    }

    /// The place of a plain page in the file; [`PagePlace::Read`] where it is not in one piece.
    fn place(&self, offset: u64) -> PagePlace {
        match self {
            Self::Plain(_) => PagePlace::File(FileOffset(offset)),
            Self::Flattened(source) => source.place(offset, PAGE_SIZE).map_or(PagePlace::Read, PagePlace::File),
        }
    }
}

/// The memory and the processors in a kdump file.
pub struct Kdump<'a> {
    source: Source<'a>,
    bitmap: RankedBitmap,
    descriptors: FileOffset,
    cache: PageCache,
    notes: CoreNotes,
    findings: Findings,
}

impl<'a> Kdump<'a> {
    /// Opens a kdump file, flattened or not.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is none, is one of several of a split dump, or of a machine with other pages than
    /// those of 4 KiB; [`Error::Read`] where the medium fails.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let source = match detect(source)? {
            Container::FlattenedKdump => Source::Flattened(Flattened::open(source, &mut findings)?),
            _ => Source::Plain(source),
        };
        let reader = source.reader();
        let headers = Headers::read(reader)?;
        if headers.status & STATUS_INCOMPLETE != 0 {
            findings.add(0_u64, "kdump header", "there was no room for the whole dump".to_owned());
        }
        let (offset, size) = headers.notes;
        let mut notes = CoreNotes::read(reader, offset, size, None, &mut findings)?;
        let (offset, size) = headers.vmcoreinfo;
        if size > 0 && notes.windows_header.is_none() && notes.vmcoreinfo.is_none() {
            let end = offset.0.checked_add(size);
            if size <= LARGEST_VMCOREINFO && end.is_some_and(|end| end <= reader.size()) {
                let payload = reader.bytes(offset, usize::try_from(size).unwrap_or(0))?;
                notes.vmcoreinfo(&payload, offset, &mut findings);
            } else {
                findings.add(
                    offset,
                    "VMCOREINFO",
                    format!("{size:#x} bytes, which do not lie within the file"),
                );
            }
        }
        let mut kdump = Self {
            bitmap: RankedBitmap::open(reader, headers.bitmap, headers.pages, &mut findings)?,
            descriptors: headers.descriptors,
            source,
            cache: PageCache::new(),
            notes,
            findings,
        };
        // Pages are written in order, so that the last one tells of a file that was cut.
        if let Some(last) = kdump.bitmap.count().checked_sub(1)
            && kdump.descriptor(last)?.is_none()
        {
            let what = "the last page is not in the file, which was cut; others may be absent too".to_owned();
            kdump
                .findings
                .add(kdump.descriptor_offset(last), "page descriptors", what);
        }
        Ok(kdump)
    }

    /// The processor, as far as the notes tell; `None` where there are none.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        self.notes.cpus.first().map(|cpu| match &cpu.registers {
            CpuRegisters::X86(state) if is_long(state) => Machine::Amd64,
            CpuRegisters::X86(_) => Machine::X86,
            CpuRegisters::Arm64(_) => Machine::Arm64,
        })
    }

    /// The processors.
    #[must_use]
    pub fn cpus(&self) -> &[CpuState] {
        &self.notes.cpus
    }

    /// The dump header that Windows made for the monitor.
    #[must_use]
    pub const fn windows_header(&self) -> Option<&Header> {
        self.notes.windows_header.as_ref()
    }

    /// What a Linux kernel says of itself.
    #[must_use]
    pub fn vmcoreinfo(&self) -> Option<&str> {
        self.notes.vmcoreinfo.as_deref()
    }

    /// What is wrong with the file.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    fn descriptor_offset(&self, index: u64) -> FileOffset {
        self.descriptors.saturating_add(index * PageDescriptor::SIZE as u64)
    }

    /// The descriptor of a page, by the number of pages before it; `None` where it or the page's data does not lie
    /// within the file.
    fn descriptor(&self, index: u64) -> Result<Option<PageDescriptor>, Error> {
        let mut descriptor = None;
        self.each_descriptor(index, 1, |it| {
            descriptor = it.copied();
            true
        })?;
        Ok(descriptor)
    }

    /// Calls `each` for the descriptors of `count` pages, at most [`DESCRIPTORS`], until it says no; with `None` for
    /// pages that are absent. How many it was called for.
    fn each_descriptor(
        &self,
        index: u64,
        count: u64,
        mut each: impl FnMut(Option<&PageDescriptor>) -> bool,
    ) -> Result<(), Error> {
        let reader = self.source.reader();
        let at = self.descriptor_offset(index);
        let room = reader.size().saturating_sub(at.0) / PageDescriptor::SIZE as u64;
        let count = count.min(DESCRIPTORS);
        let there = usize::try_from(count.min(room)).unwrap_or(0);
        let bytes = reader.bytes(at, there * PageDescriptor::SIZE)?;
        for bytes in bytes.chunks(PageDescriptor::SIZE) {
            let descriptor = PageDescriptor::read_partial(bytes, Endian::Little);
            let end = descriptor.offset.get().checked_add(descriptor.size.get().into());
            let is_there = end.is_some_and(|end| end <= reader.size()) && descriptor.size.get() > 0;
            if !each(is_there.then_some(&descriptor)) {
                return Ok(());
            }
        }
        for _ in there as u64..count {
            if !each(None) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn place_of(&self, descriptor: &PageDescriptor) -> PagePlace {
        if is_plain(descriptor) {
            self.source.place(descriptor.offset.get())
        } else {
            PagePlace::Read
        }
    }
}

/// Whether the data is the page as it is.
fn is_plain(descriptor: &PageDescriptor) -> bool {
    descriptor.flags.get() == 0 && u64::from(descriptor.size.get()) == PAGE_SIZE
}

/// Whether a processor runs with 64-bit addresses; where the note has no control registers, whether it uses some.
fn is_long(state: &QemuCpuState) -> bool {
    let used = [state.rip, state.rsp, state.gs.base, state.kernel_gs_base];
    used.iter().any(|register| register.get() >> 32 != 0)
}

impl PhysicalMemory for Kdump<'_> {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let mut from = from.0;
        while let Some((first, rank, pages)) = self.bitmap.next_run(self.source.reader(), from)? {
            let mut run: Option<PageRun> = None;
            let mut seen = 0;
            self.each_descriptor(rank, pages, |descriptor| {
                let place = descriptor.map(|descriptor| self.place_of(descriptor));
                let goes_on = match (&mut run, place) {
                    (None, None) => true,
                    (None, Some(place)) => {
                        run = Some(PageRun {
                            first: Pfn(first + seen),
                            pages: 1,
                            place,
                        });
                        true
                    }
                    (Some(run), Some(place)) if run.place.advanced(run.pages * PAGE_SIZE) == place => {
                        run.pages += 1;
                        true
                    }
                    _ => false,
                };
                seen += 1;
                goes_on
            })?;
            if run.is_some() {
                return Ok(run);
            }
            from = first + seen.max(1);
        }
        Ok(None)
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        let Some(rank) = self.bitmap.rank(self.source.reader(), page.0)? else {
            return Ok(None);
        };
        let descriptor = self.descriptor(rank)?;
        Ok(descriptor.map(|descriptor| self.place_of(&descriptor)))
    }

    /// See [`PhysicalMemory::read`].
    ///
    /// # Errors
    /// Also [`Error::Malformed`] where the data of a page is damaged, or compressed in a way that is not understood.
    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let reader = self.source.reader();
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(rank) = self.bitmap.rank(reader, at.pfn().0)? else {
                break;
            };
            let Some(descriptor) = self.descriptor(rank)? else {
                break;
            };
            let within = usize::try_from(at.offset_in_page()).unwrap_or(0);
            let now = (PAGE - within).min(buffer.len() - done);
            let part = &mut buffer[done..done + now];
            if is_plain(&descriptor) {
                reader.read_exact_at(FileOffset(descriptor.offset.get() + within as u64), part)?;
            } else {
                self.cache.read(reader, &descriptor, within, part)?;
            }
            done += now;
        }
        Ok(done)
    }

    /// By the bitmap: of a file that was cut, pages behind its end count too.
    fn pages_present(&self) -> u64 {
        self.bitmap.count()
    }

    fn end(&self) -> Pfn {
        Pfn(self.bitmap.bits())
    }
}
