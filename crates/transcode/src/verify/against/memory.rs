//! Every byte of memory of a dump and its source.
//!
//! Both files are read once, from beginning to end of the address space. Runs that lie side by side in both files are
//! read together, so that a million small ranges cost little more than a few large ones.

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::{Error, FileOffset, ReadAt, VirtAddr, VirtRange};
use dotdump_snapshot::{Extent, RangeSet};

use super::{Against, Side};
use crate::manifest::{Manifest, Span};
use crate::words::Words;

/// How much is compared at a time.
const CHUNK: u64 = 256 << 10;

/// How many places are told where bytes differ.
const TOLD: usize = 8;

/// The extents of one side, in ascending order.
type Extents<'a> = Box<dyn Iterator<Item = Result<Extent, Error>> + 'a>;

pub(super) fn compare(
    dump: Side<'_>,
    source: Side<'_>,
    manifest: Option<&Manifest>,
    report: &mut Against,
) -> Result<(), Error> {
    let erased = match manifest {
        Some(manifest) => manifest.erased.iter().filter_map(Span::range).collect(),
        // Without a manifest the header tells that words were erased, but not where.
        None if dump.flags().contains(MiniDumpType::FILTER_MEMORY) => {
            RangeSet::from_iter([VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX))])
        }
        None => RangeSet::new(),
    };
    let from_images: RangeSet = manifest
        .iter()
        .flat_map(|manifest| &manifest.from_images)
        .filter_map(Span::range)
        .collect();
    let narrow: RangeSet = manifest
        .iter()
        .flat_map(|manifest| &manifest.erased_32)
        .filter_map(Span::range)
        .collect();
    let mut comparison = Comparison {
        dump,
        source,
        word: u64::try_from(Words::of(source.process).size).unwrap_or(8),
        erased: erased.into_vec(),
        narrow: narrow.into_vec(),
        from_images: from_images.into_vec(),
        pending: Vec::new(),
        pending_size: 0,
        buffers: (Vec::new(), Vec::new()),
        result: Outcome::default(),
    };
    comparison.walk(dump.memory().all(), source.memory().all())?;
    comparison.finish(report);
    Ok(())
}

/// A run of addresses and where its bytes lie in both files.
#[derive(Clone, Copy)]
struct Run {
    range: VirtRange,
    mine: FileOffset,
    theirs: FileOffset,
}

#[derive(Default)]
struct Outcome {
    compared: u64,
    erased_words: u64,
    erased_ranges: u64,
    /// The entry of the list of erased ranges in which the last erased word was.
    last_erased: Option<usize>,
    differing: u64,
    places: Vec<VirtAddr>,
    /// Where the last differing byte was, to tell runs of them as one place.
    differing_end: Option<VirtAddr>,
    from_images: u64,
    only_here: u64,
    only_here_first: Option<VirtAddr>,
    left_out: u64,
    left_out_ranges: u64,
    left_out_end: Option<VirtAddr>,
}

struct Comparison<'a> {
    dump: Side<'a>,
    source: Side<'a>,
    word: u64,
    /// Sorted, apart.
    erased: Vec<VirtRange>,
    /// The part of it with 32-bit words. Sorted, apart.
    narrow: Vec<VirtRange>,
    /// Code that does not come from the source. Sorted, apart.
    from_images: Vec<VirtRange>,
    /// Runs that follow each other without a gap in both files.
    pending: Vec<Run>,
    pending_size: u64,
    buffers: (Vec<u8>, Vec<u8>),
    result: Outcome,
}

impl Comparison<'_> {
    fn walk(&mut self, mut mine: Extents<'_>, mut theirs: Extents<'_>) -> Result<(), Error> {
        let (mut here, mut there) = (mine.next().transpose()?, theirs.next().transpose()?);
        loop {
            match (here, there) {
                (None, None) => break,
                (Some(extent), None) => {
                    self.only_here(extent.range);
                    here = mine.next().transpose()?;
                }
                (None, Some(extent)) => {
                    self.left_out(extent.range);
                    there = theirs.next().transpose()?;
                }
                (Some(one), Some(two)) => {
                    let start = one.range.start.max(two.range.start);
                    if one.range.start < start {
                        self.only_here(VirtRange::new(one.range.start, start.min(one.range.end)));
                    }
                    if two.range.start < start {
                        self.left_out(VirtRange::new(two.range.start, start.min(two.range.end)));
                    }
                    let end = one.range.end.min(two.range.end);
                    if start < end {
                        self.both(&one, &two, VirtRange::new(start, end))?;
                    }
                    let rest = |extent: Extent| extent.clip(VirtRange::new(end.max(start), VirtAddr(u64::MAX)));
                    here = match rest(one) {
                        None => mine.next().transpose()?,
                        rest => rest,
                    };
                    there = match rest(two) {
                        None => theirs.next().transpose()?,
                        rest => rest,
                    };
                }
            }
        }
        self.flush()
    }

    fn only_here(&mut self, range: VirtRange) {
        // The manifest tells what came from files of the modules' images.
        let mut at = range.start;
        let parts: Vec<VirtRange> = dotdump_snapshot::ranges::clipped(&self.from_images, range).collect();
        for part in parts {
            self.result.from_images += part.size();
            self.without_source(VirtRange::new(at, part.start));
            at = part.end;
        }
        self.without_source(VirtRange::new(at, range.end));
    }

    fn without_source(&mut self, range: VirtRange) {
        if !range.is_empty() {
            self.result.only_here += range.size();
            self.result.only_here_first.get_or_insert(range.start);
        }
    }

    fn left_out(&mut self, range: VirtRange) {
        self.result.left_out += range.size();
        if self.result.left_out_end != Some(range.start) {
            self.result.left_out_ranges += 1;
        }
        self.result.left_out_end = Some(range.end);
    }

    /// Addresses that both have.
    fn both(&mut self, one: &Extent, two: &Extent, range: VirtRange) -> Result<(), Error> {
        self.result.compared += range.size();
        let within = |extent: &Extent| extent.clip(range).and_then(|part| part.offset);
        let (Some(mut mine), Some(mut theirs)) = (within(one), within(two)) else {
            return self.by_address(range);
        };
        let mut start = range.start;
        while start < range.end {
            let fits = self.pending.last().is_none_or(|last| {
                let size = last.range.size();
                last.mine.saturating_add(size) == mine && last.theirs.saturating_add(size) == theirs
            });
            if !fits || self.pending_size >= CHUNK {
                self.flush()?;
            }
            // Chunks end between words.
            let room = start.saturating_add(CHUNK - self.pending_size);
            let end = if room < range.end {
                room.align_down(self.word.next_power_of_two())
                    .max(start.saturating_add(1))
                    .min(range.end)
            } else {
                range.end
            };
            let part = VirtRange::new(start, end);
            self.pending.push(Run {
                range: part,
                mine,
                theirs,
            });
            self.pending_size += part.size();
            mine = mine.saturating_add(part.size());
            theirs = theirs.saturating_add(part.size());
            start = end;
        }
        Ok(())
    }

    /// Addresses whose bytes lie in one of the files in another form, as compressed pages do.
    fn by_address(&mut self, range: VirtRange) -> Result<(), Error> {
        self.flush()?;
        let (mut mine, mut theirs) = std::mem::take(&mut self.buffers);
        let mut start = range.start;
        while start < range.end {
            let end = start.saturating_add(CHUNK).align_down(CHUNK).min(range.end);
            let size = usize::try_from(end.0 - start.0).unwrap_or(0);
            for (side, buffer) in [(self.dump, &mut mine), (self.source, &mut theirs)] {
                buffer.clear();
                buffer.resize(size, 0);
                let read = side.memory().read(start, buffer)?;
                buffer.truncate(read);
            }
            let both = mine.len().min(theirs.len());
            self.words(start, &mine[..both], &theirs[..both]);
            if both < size {
                self.without_source(VirtRange::new(start.saturating_add(both as u64), end));
            }
            start = end;
        }
        self.buffers = (mine, theirs);
        Ok(())
    }

    /// Compares what waits.
    fn flush(&mut self) -> Result<(), Error> {
        let Some(first) = self.pending.first().copied() else {
            return Ok(());
        };
        let size = usize::try_from(self.pending_size).unwrap_or(0);
        let (mut mine, mut theirs) = std::mem::take(&mut self.buffers);
        let one = read(self.dump.file, first.mine, size, &mut mine)?;
        let two = read(self.source.file, first.theirs, size, &mut theirs)?;
        if one != two {
            let mut at = 0;
            for run in std::mem::take(&mut self.pending) {
                let end = at + usize::try_from(run.range.size()).unwrap_or(0);
                self.words(run.range.start, &one[at..end], &two[at..end]);
                at = end;
            }
        }
        self.pending.clear();
        self.pending_size = 0;
        self.buffers = (mine, theirs);
        Ok(())
    }

    /// Finds the words that differ.
    fn words(&mut self, start: VirtAddr, mine: &[u8], theirs: &[u8]) {
        if mine == theirs {
            return;
        }
        let mut at = 0;
        while at < mine.len() {
            let address = start.saturating_add(at as u64);
            let is_narrow = dotdump_snapshot::ranges::clipped(&self.narrow, VirtRange::sized(address, 1))
                .next()
                .is_some();
            let word = if is_narrow { 4 } else { self.word };
            let left = word - address.0 % word;
            let end = mine.len().min(at + usize::try_from(left).unwrap_or(1));
            if mine[at..end] != theirs[at..end] {
                self.word(address, &mine[at..end], &theirs[at..end]);
            }
            at = end;
        }
    }

    /// A word, or the part of one that a range has, that is not the same: it was erased, or it differs.
    fn word(&mut self, address: VirtAddr, mine: &[u8], theirs: &[u8]) {
        let index = self.erased.partition_point(|erased| erased.end <= address);
        let in_erased = |at: VirtAddr| {
            let later = self.erased.get(index..).unwrap_or_default();
            later
                .iter()
                .take_while(|erased| erased.start <= at)
                .any(|erased| erased.contains(at))
        };
        let bytes = (0..).map(|at| address.saturating_add(at)).zip(mine.iter().zip(theirs));
        // Filters erase whole words: a single byte that became zero is damage.
        let is_erased = bytes.clone().all(|(at, (mine, theirs))| match in_erased(at) {
            true => *mine == 0,
            false => mine == theirs,
        });
        if is_erased {
            self.result.erased_words += 1;
            if self.result.last_erased != Some(index) {
                self.result.erased_ranges += 1;
                self.result.last_erased = Some(index);
            }
            return;
        }
        for (at, (mine, theirs)) in bytes {
            if mine == theirs {
                continue;
            }
            self.result.differing += 1;
            if self.result.differing_end != Some(at) && self.result.places.len() < TOLD {
                self.result.places.push(at);
            }
            self.result.differing_end = Some(at.saturating_add(1));
        }
    }

    fn finish(self, report: &mut Against) {
        let result = self.result;
        report.memory_compared = result.compared;
        report.memory_from_images = result.from_images;
        report.left_out.memory_bytes = result.left_out;
        report.left_out.memory_ranges = result.left_out_ranges;
        report.erased.words = result.erased_words;
        report.erased.ranges = result.erased_ranges;
        if result.differing > 0 {
            let places: Vec<String> = result.places.iter().map(ToString::to_string).collect();
            let message = format!("{} bytes differ, first at {}", result.differing, places.join(", "));
            report.differ("memory", message);
        }
        if let Some(first) = result.only_here_first {
            let message = format!("{} bytes are not in the source, first at {first}", result.only_here);
            report.differ("memory", message);
        }
    }
}

/// The bytes of a run, lent where the file is in memory.
fn read<'a>(file: &'a dyn ReadAt, offset: FileOffset, size: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    if let Some(lent) = file.lend(offset, size) {
        return Ok(lent);
    }
    buffer.resize(size, 0);
    file.read_exact_at(offset, buffer)?;
    Ok(buffer)
}
