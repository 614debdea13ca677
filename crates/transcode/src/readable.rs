//! A process without the memory that turned out to be unreadable.
//!
//! What a live process maps is known when it is stopped, but not whether each page of it can be read: a file may have
//! become shorter under its mapping, a device may refuse. Reading everything beforehand would stop the process for twice
//! as long. So a dump is planned on the word of the map; where writing it ends with
//! [`WriteError::Vanished`](crate::execute::WriteError::Vanished), what cannot be read is left out, and it is planned
//! again while the process is still stopped. `-ma` refuses then, and the other options do without:
//!
//! ```
//! use dotdump_snapshot::ProcessSnapshot;
//! use dotdump_transcode::execute::WriteError;
//! use dotdump_transcode::manifest::SourceIdentity;
//! use dotdump_transcode::readable::Readable;
//! use dotdump_transcode::report::Report;
//! use dotdump_transcode::sink::{Sink, SinkError};
//! use dotdump_transcode::{Request, prepare_snapshot};
//!
//! fn capture<'s>(
//!     stopped: &dyn ProcessSnapshot,
//!     request: &Request,
//!     mut open: impl FnMut(u64) -> Result<Box<dyn Sink + 's>, SinkError>,
//! ) -> Result<(Report, Box<dyn Sink + 's>), Box<dyn std::error::Error>> {
//!     let mut readable = Readable::new(stopped);
//!     loop {
//!         let identity = SourceIdentity::live(stopped);
//!         let mut conversion = prepare_snapshot(&readable, identity, request, &[])?;
//!         let mut sink = open(conversion.size())?;
//!         match conversion.write(None, &mut *sink) {
//!             Ok(_) => return Ok((conversion.report, sink)),
//!             // The sink was dropped half-written, and leaves nothing.
//!             Err(WriteError::Vanished { address }) if readable.leave_out(address)? > 0 => {}
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//! }
//! ```

use dotdump_format::{Error, PAGE_SIZE, VirtAddr, VirtRange};
use dotdump_snapshot::ranges::{clipped, subtracted};
use dotdump_snapshot::{Extent, Memory, ProcessSnapshot, RangeSet};

use crate::pass_on::pass_on;

/// How much is read at a time to find what cannot be read, in bytes.
const CHUNK: u64 = 256 << 10;

/// A process without some of its memory. All else is that of the process.
pub struct Readable<'a> {
    inner: &'a dyn ProcessSnapshot,
    memory: ReadableMemory<'a>,
}

struct ReadableMemory<'a> {
    inner: &'a dyn Memory,
    /// What cannot be read: sorted, apart.
    unreadable: Vec<VirtRange>,
}

impl<'a> Readable<'a> {
    /// The process with all of its memory.
    #[must_use]
    pub fn new(inner: &'a dyn ProcessSnapshot) -> Self {
        let memory = ReadableMemory {
            inner: inner.memory(),
            unreadable: Vec::new(),
        };
        Self { inner, memory }
    }

    /// What is left out, in ascending order.
    #[must_use]
    pub fn unreadable(&self) -> &[VirtRange] {
        &self.memory.unreadable
    }

    /// Looks through the memory from the page of `address` on, as far as it goes on without a gap, and leaves out the
    /// pages of it that cannot be read. The result is how many bytes these are; none where all can be read by now.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn leave_out(&mut self, address: VirtAddr) -> Result<u64, Error> {
        let memory = self.memory.inner;
        let mut end = address.align_down(PAGE_SIZE);
        let mut found = RangeSet::new();
        let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(0)];
        for extent in self.memory.extents(VirtRange::new(end, VirtAddr(u64::MAX))) {
            let extent = extent?.range;
            if extent.start > end {
                break;
            }
            let mut at = extent.start.max(end);
            while at < extent.end {
                let rest = VirtRange::new(at, extent.end);
                let Some(stored) = memory.next_stored(rest)?.intersection(rest) else {
                    break;
                };
                at = stored.start;
                let size = usize::try_from(stored.size().min(CHUNK)).unwrap_or(0);
                let there = memory.read(at, &mut buffer[..size])?;
                at = at.saturating_add(there as u64);
                if there < size {
                    let next = at.align_down(PAGE_SIZE).saturating_add(PAGE_SIZE).min(extent.end);
                    found.insert(VirtRange::new(at.align_down(PAGE_SIZE).max(extent.start), next));
                    at = next;
                }
            }
            end = extent.end;
        }
        let bytes = found.bytes();
        for range in self.memory.unreadable.drain(..) {
            found.insert(range);
        }
        self.memory.unreadable = found.into_vec();
        Ok(bytes)
    }
}

impl Memory for ReadableMemory<'_> {
    fn extents(&self, within: VirtRange) -> Box<dyn Iterator<Item = Result<Extent, Error>> + '_> {
        let extents = self.inner.extents(within);
        if self.unreadable.is_empty() {
            return extents;
        }
        Box::new(extents.flat_map(|extent| -> Vec<Result<Extent, Error>> {
            match extent {
                Ok(extent) => subtracted(extent.range, &self.unreadable)
                    .filter_map(|range| extent.clip(range).map(Ok))
                    .collect(),
                Err(error) => vec![Err(error)],
            }
        }))
    }

    fn read(&self, address: VirtAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let wanted = VirtRange::sized(address, buffer.len() as u64);
        let upto = clipped(&self.unreadable, wanted)
            .next()
            .map_or(wanted.end, |hole| hole.start);
        let size = usize::try_from(upto.0 - address.0).map_or(buffer.len(), |size| size.min(buffer.len()));
        self.inner.read(address, &mut buffer[..size])
    }

    fn next_stored(&self, within: VirtRange) -> Result<VirtRange, Error> {
        self.inner.next_stored(within)
    }
}

impl ProcessSnapshot for Readable<'_> {
    pass_on!(
        endian,
        header,
        system_info,
        csd_version,
        architecture,
        threads,
        modules,
        exception,
        has_regions,
        regions,
        region_at,
        stream_types,
        stream,
        misc_info,
        bytes,
        is_resident_only,
        environment_block,
        other_code,
        unwind_infos,
        findings
    );

    fn memory(&self) -> &dyn Memory {
        &self.memory
    }

    fn missing_bytes(&self) -> u64 {
        let left_out: u64 = self.memory.unreadable.iter().map(|range| range.size()).sum();
        self.inner.missing_bytes().saturating_add(left_out)
    }

    fn first_missing(&self) -> Option<VirtAddr> {
        let left_out = self.memory.unreadable.first().map(|range| range.start);
        self.inner.first_missing().into_iter().chain(left_out).min()
    }
}
