//! Code of modules from files of their images (`-mc` with `--image-path`), where the dump does not have it.
//!
//! Code does not change while a program runs, so the file has the same bytes: but for the addresses in it, to which the
//! difference between the preferred and the real base is added, as the image's relocations say.

use std::path::PathBuf;

use dotdump_format::{Error, FileOffset, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::{DumpFile, Extent, Memory, ProcessSnapshot, RangeSet};

use super::image_file::ImageLayout;
use super::image_folders::{ImageFolders, shown};
use crate::shortfall::Shortfalls;

/// The memory of a snapshot, and behind it the code of its modules' images.
pub struct ImageMemory<'a> {
    inner: &'a dyn Memory,
    images: Vec<DumpFile>,
    /// Sorted, without overlaps.
    runs: Vec<Run>,
    ranges: Vec<VirtRange>,
}

/// Code that lies in a file in one piece.
#[derive(Clone, Debug)]
struct Run {
    range: VirtRange,
    image: usize,
    offset: FileOffset,
    relocations: Vec<Relocation>,
    /// What is added to each relocated address.
    delta: u64,
}

/// An address within code that depends on where the image was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relocation {
    /// Where it is.
    pub(crate) at: VirtAddr,
    /// Its size in bytes: 4 or 8.
    pub(crate) size: usize,
}

impl<'a> ImageMemory<'a> {
    /// The memory of a snapshot alone.
    #[must_use]
    pub fn none(inner: &'a dyn Memory) -> Self {
        Self {
            inner,
            images: Vec::new(),
            runs: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// The memory of a snapshot with the code of all images that `folders` have.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium of the snapshot fails. An image that cannot be read is a shortfall.
    pub fn new(
        snapshot: &'a dyn ProcessSnapshot,
        folders: &ImageFolders,
        shortfalls: &mut Shortfalls,
    ) -> Result<Self, Error> {
        let mut memory = Self::none(snapshot.memory());
        for module in snapshot.modules() {
            let Some(path) = folders.file_of(snapshot, module)? else {
                continue;
            };
            if let Err(reason) = memory.add(path.clone(), module.range()) {
                shortfalls.warn("-mc", format!("cannot take code from {}: {reason}", shown(&path)));
            }
        }
        memory.runs.sort_by_key(|run| run.range);
        let mut end = VirtAddr(0);
        memory.runs.retain(|run| {
            let apart = run.range.start >= end;
            end = end.max(run.range.end);
            apart
        });
        memory.ranges = memory.runs.iter().map(|run| run.range).collect();
        Ok(memory)
    }

    fn add(&mut self, path: PathBuf, module: VirtRange) -> Result<(), String> {
        let file = DumpFile::open(&path, false).map_err(|error| error.to_string())?;
        let image = ImageLayout::read(file.file(), module).ok_or("its headers or relocations are damaged")?;
        for section in image.code {
            let room = file.size().saturating_sub(section.offset.0);
            let range = VirtRange::sized(section.range.start, section.range.size().min(room));
            if range.is_empty() {
                continue;
            }
            let within = |relocation: &&Relocation| range.contains(relocation.at);
            self.runs.push(Run {
                range,
                image: self.images.len(),
                offset: section.offset,
                relocations: image.relocations.iter().filter(within).copied().collect(),
                delta: image.delta,
            });
        }
        self.images.push(file);
        Ok(())
    }

    /// The addresses of `ranges` that the snapshot itself does not have.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn taken(&self, ranges: &[VirtRange]) -> Result<RangeSet, Error> {
        let mut taken = RangeSet::new();
        if !self.runs.is_empty() {
            for range in ranges {
                for extent in self.extents(*range) {
                    let extent = extent?;
                    if extent.offset.is_none() {
                        taken.insert(extent.range);
                    }
                }
            }
        }
        taken.settle();
        Ok(taken)
    }
}

impl Memory for ImageMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let inner = self.inner.extents(within);
        if self.runs.is_empty() {
            return inner;
        }
        let mut at = within.start;
        let missing = move |gap: VirtRange| {
            dotdump_snapshot::ranges::clipped(&self.ranges, gap).map(|range| Ok(Extent { range, offset: None }))
        };
        let filled = inner
            .map(Some)
            .chain([None])
            .flat_map(move |extent| -> Vec<Result<Extent, Error>> {
                match extent {
                    Some(Ok(extent)) => {
                        let gap = VirtRange::new(at, extent.range.start);
                        at = extent.range.end;
                        missing(gap).chain([Ok(extent)]).collect()
                    }
                    Some(Err(error)) => vec![Err(error)],
                    None => missing(VirtRange::new(at, within.end)).collect(),
                }
            });
        Box::new(filled)
    }

    fn next_stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        let stored = self.inner.next_stored(within)?;
        let start = if stored.is_empty() { within.end } else { stored.start };
        // Where an image has code, there may be nothing else.
        let before = VirtRange::new(within.start, start);
        match dotdump_snapshot::ranges::clipped(&self.ranges, before).next() {
            Some(code) => Ok(VirtRange::new(code.start, within.end)),
            None => Ok(stored),
        }
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = self.inner.read(address, buffer)?;
        while done < buffer.len() && !self.runs.is_empty() {
            let at = address.saturating_add(done as u64);
            let rest = &mut buffer[done..];
            let there = self.inner.read(at, rest)?;
            let index = self.runs.partition_point(|run| run.range.end <= at);
            match self.runs.get(index).filter(|run| run.range.contains(at)) {
                _ if there > 0 => done += there,
                // The snapshot's own bytes come first where they begin again.
                Some(run) => {
                    let wanted = VirtRange::sized(at, rest.len() as u64);
                    let next = self
                        .inner
                        .extents(wanted)
                        .next()
                        .transpose()?
                        .map_or(wanted.end, |extent| extent.range.start);
                    let end = run.range.end.min(wanted.end).min(next);
                    let size = usize::try_from(end.0 - at.0).unwrap_or(0);
                    self.read_run(run, at, &mut rest[..size])?;
                    done += size;
                }
                None => break,
            }
        }
        Ok(done)
    }
}

impl ImageMemory<'_> {
    fn read_run(&self, run: &Run, at: VirtAddr, buffer: &mut [u8]) -> Result<(), Error> {
        let image = &self.images[run.image];
        let offset_of = |address: VirtAddr| run.offset.saturating_add(address.0 - run.range.start.0);
        image.read_exact_at(offset_of(at), buffer)?;
        let wanted = VirtRange::sized(at, buffer.len() as u64);
        let first = run
            .relocations
            .partition_point(|relocation| relocation.at.saturating_add(8) <= at);
        for relocation in run.relocations[first..]
            .iter()
            .take_while(|relocation| relocation.at < wanted.end)
        {
            let place = VirtRange::sized(relocation.at, relocation.size as u64);
            let Some(part) = place.intersection(wanted).filter(|_| place.end <= run.range.end) else {
                continue;
            };
            // The whole number is needed for its sum, although only a part of it may be wanted.
            let mut number = [0; 8];
            image.read_exact_at(offset_of(place.start), &mut number[..relocation.size])?;
            let sum = u64::from_le_bytes(number).wrapping_add(run.delta).to_le_bytes();
            let index = |address: VirtAddr, origin: VirtAddr| usize::try_from(address.0 - origin.0).unwrap_or(0);
            buffer[index(part.start, at)..index(part.end, at)]
                .copy_from_slice(&sum[index(part.start, place.start)..index(part.end, place.start)]);
        }
        Ok(())
    }
}
