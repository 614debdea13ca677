//! The memory that a snapshot holds.

use dotdump_format::{Error, FileOffset, VirtAddr, VirtRange};

/// Memory that is there: an address range and, where the snapshot is a file, the place of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The addresses.
    pub range: VirtRange,
    /// Where the bytes lie in the source file; `None` for a live process.
    pub offset: Option<FileOffset>,
}

impl Extent {
    /// The part that lies in `within`, or `None` where there is none.
    #[must_use]
    #[inline]
    pub fn clip(&self, within: VirtRange) -> Option<Self> {
        let range = self.range.intersection(within)?;
        let skipped = range.start.0 - self.range.start.0;
        Some(Self {
            range,
            offset: self.offset.map(|offset| offset.saturating_add(skipped)),
        })
    }
}

/// Memory by address. Ranges come sorted and without overlaps, whatever the source's order.
pub trait Memory {
    /// The memory within `within`, in ascending order. Neighbouring extents need not be joined: where a source has
    /// borders, they show.
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_>;

    /// Reads from `address` on and tells how many bytes were there before the first one that is absent.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error>;

    /// The first part of `within` whose bytes have to be read; what lies before it in `within` is zero, as is everything
    /// where the result is empty. For memory that is there and was never written, such as the untouched pages of a live
    /// process. Where nothing is known, all of it has to be read.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn next_stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        Ok(within)
    }

    /// All memory.
    fn all(&self) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        self.extents(VirtRange::new(VirtAddr(0), VirtAddr(u64::MAX)))
    }
}

/// The memory within `ranges` (sorted, apart): what [`Memory::extents`] gives for each of them, by one walk where they
/// lie close together.
pub fn extents_in<'a>(memory: &'a dyn Memory, ranges: &'a [VirtRange]) -> ExtentsIn<'a> {
    ExtentsIn {
        memory,
        ranges,
        walk: None,
        waiting: None,
    }
}

/// See [`extents_in`].
pub struct ExtentsIn<'a> {
    memory: &'a dyn Memory,
    ranges: &'a [VirtRange],
    walk: Option<Box<dyn Iterator<Item = Result<Extent, Error>> + 'a>>,
    /// What the walk has given and may reach into further ranges.
    waiting: Option<Extent>,
}

impl Iterator for ExtentsIn<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        /// After so many extents that nobody wants it is time to search instead.
        const FAR: usize = 1024;

        let mut passed = 0;
        loop {
            let range = *self.ranges.first()?;
            if let Some(extent) = self.waiting {
                if extent.range.end <= range.start {
                    self.waiting = None;
                    passed += 1;
                    continue;
                }
                let part = extent.clip(range);
                if extent.range.end < range.end {
                    self.waiting = None;
                } else {
                    self.ranges = &self.ranges[1..];
                }
                match part {
                    Some(part) => return Some(Ok(part)),
                    None => continue,
                }
            }
            if passed > FAR {
                self.walk = None;
                passed = 0;
            }
            let (memory, end) = (self.memory, self.ranges.last()?.end);
            let walk = self
                .walk
                .get_or_insert_with(|| memory.extents(VirtRange::new(range.start, end)));
            match walk.next()? {
                Ok(extent) => self.waiting = Some(extent),
                Err(error) => {
                    self.ranges = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Reads exactly `N` bytes, or tells that they are not all there.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn read_array<const N: usize>(memory: &dyn Memory, address: VirtAddr) -> Result<Option<[u8; N]>, Error> {
    let mut bytes = [0; N];
    Ok((memory.read(address, &mut bytes)? == N).then_some(bytes))
}

/// The address range from the first to the last address that touch `address` without a gap, in `memory`.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn contiguous_end(memory: &dyn Memory, address: VirtAddr, limit: u64) -> Result<VirtAddr, Error> {
    let mut end = address;
    for extent in memory.extents(VirtRange::sized(address, limit)) {
        let range = extent?.range;
        if range.start > end {
            break;
        }
        end = end.max(range.end);
    }
    Ok(end)
}
