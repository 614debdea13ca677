//! Flattened files: a kdump file as the stream of writes that made it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dotdump_format::kdump::{FLAT_HEADER_SIZE, FlatRecord};
use dotdump_format::source::past_end;
use dotdump_format::{Endian, Error, FileOffset, Findings, ReadAt, Record};

/// Records above this number are not indexed: the index takes 24 bytes for each. Writers gather 15 KiB and more of page
/// data in one.
const MOST_RECORDS: usize = 1 << 21;

/// A part of the file and where its bytes are in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
    offset: u64,
}

/// A flattened file, seen as the file that it stands for. Parts that no record wrote are zero.
#[derive(Debug)]
pub(super) struct Flattened<S> {
    stream: S,
    /// Sorted and apart.
    parts: Vec<Part>,
    size: u64,
}

impl<S: ReadAt> Flattened<S> {
    /// Reads the headers of all records.
    pub(super) fn open(stream: S, findings: &mut Findings) -> Result<Self, Error> {
        let end = stream.size();
        let mut records = Vec::new();
        let mut at = FLAT_HEADER_SIZE;
        loop {
            let mut header = [0; size_of::<FlatRecord>()];
            if end.saturating_sub(at) < header.len() as u64 {
                findings.add(
                    at,
                    "flattened kdump",
                    "the file ends without its last record".to_owned(),
                );
                break;
            }
            stream.read_exact_at(FileOffset(at), &mut header)?;
            let record = FlatRecord::read_partial(&header, Endian::Big);
            let (target, size) = (record.offset.get(), record.size.get());
            if target == -1 && size == -1 {
                break;
            }
            let (Ok(target), Ok(size)) = (u64::try_from(target), u64::try_from(size)) else {
                findings.add(
                    at,
                    "flattened kdump",
                    format!("a record of {size} bytes for offset {target}"),
                );
                break;
            };
            at += header.len() as u64;
            let there = size.min(end - at);
            if there < size {
                let message = format!("a record of {size:#x} bytes, of which {there:#x} lie within the file");
                findings.add(at, "flattened kdump", message);
            }
            // Both numbers come from 63 bits, so that their sum has 64.
            if there > 0 {
                records.push(Part {
                    start: target,
                    end: target + there,
                    offset: at,
                });
            }
            if records.len() > MOST_RECORDS {
                return Err(Error::malformed(
                    at,
                    "flattened kdump",
                    format!("more than {MOST_RECORDS} records; `makedumpfile -R` makes a plain kdump file of it"),
                ));
            }
            at += there;
        }
        let parts = settle(records);
        Ok(Self {
            size: parts.last().map_or(0, |part| part.end),
            stream,
            parts,
        })
    }

    /// Where `size` bytes from `offset` on are in the stream, where one record has all of them.
    pub(super) fn place(&self, offset: u64, size: u64) -> Option<FileOffset> {
        let part = self.parts.get(self.parts.partition_point(|part| part.end <= offset))?;
        let within = offset.checked_sub(part.start)?;
        (part.end - offset >= size).then(|| FileOffset(part.offset + within))
    }
}

impl<S: ReadAt> ReadAt for Flattened<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end.0 > self.size)
        {
            return Err(past_end(offset, buffer.len(), self.size));
        }
        let mut done = 0;
        let mut next = self.parts.partition_point(|part| part.end <= offset.0);
        while done < buffer.len() {
            let at = offset.0 + done as u64;
            let left = &mut buffer[done..];
            let fitting = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(left.len());
            let Some(part) = self.parts.get(next) else { break };
            let now = if part.start > at {
                let now = fitting(part.start - at);
                left[..now].fill(0);
                now
            } else {
                let now = fitting(part.end - at);
                let from = FileOffset(part.offset + (at - part.start));
                self.stream.read_exact_at(from, &mut left[..now])?;
                next += 1;
                now
            };
            done += now;
        }
        Ok(())
    }
}

/// Sorts records, given in the order of writing, and cuts them so that the later ones count where they overlap.
fn settle(records: Vec<Part>) -> Vec<Part> {
    let mut order: Vec<u32> = (0..u32::try_from(records.len()).unwrap_or(u32::MAX)).collect();
    let record = |index: u32| {
        usize::try_from(index)
            .ok()
            .and_then(|index| records.get(index).copied())
    };
    order.sort_by_key(|index| record(*index).map(|part| part.start));
    let mut starting = order
        .into_iter()
        .filter_map(|index| Some((index, record(index)?)))
        .peekable();
    let mut parts: Vec<Part> = Vec::with_capacity(records.len());
    // Records that reach behind `at`, the last written one on top.
    let mut open: BinaryHeap<(u32, Reverse<u64>)> = BinaryHeap::new();
    let mut at = 0;
    loop {
        while open.peek().is_some_and(|(_, end)| end.0 <= at) {
            open.pop();
        }
        if open.is_empty() {
            let Some((_, part)) = starting.peek() else { break };
            at = at.max(part.start);
        }
        while let Some((index, part)) = starting.next_if(|(_, part)| part.start <= at) {
            open.push((index, Reverse(part.end)));
        }
        let Some(top) = open.peek().and_then(|(index, _)| record(*index)) else {
            break;
        };
        if top.end <= at {
            continue;
        }
        let end = starting.peek().map_or(top.end, |(_, next)| next.start.min(top.end));
        let offset = top.offset + (at - top.start);
        match parts.last_mut() {
            Some(last) if last.end == at && last.offset + (at - last.start) == offset => last.end = end,
            _ => parts.push(Part { start: at, end, offset }),
        }
        at = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    fn stream(records: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut stream = b"makedumpfile".to_vec();
        stream.resize(4096, 0);
        for (offset, bytes) in records {
            let size = i64::try_from(bytes.len()).unwrap();
            let record = FlatRecord {
                offset: (*offset).into(),
                size: size.into(),
            };
            stream.extend_from_slice(record.in_order(Endian::Big).as_bytes());
            stream.extend_from_slice(bytes);
        }
        stream.extend_from_slice(
            FlatRecord {
                offset: (-1).into(),
                size: (-1).into(),
            }
            .as_bytes(),
        );
        stream
    }

    proptest! {
        #[test]
        fn it_reads_as_the_file_that_the_writes_make(
            records in prop::collection::vec((0_i64..300, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
            reads in prop::collection::vec((0_usize..360, 0_usize..100), 8),
        ) {
            let mut file: Vec<u8> = Vec::new();
            for (offset, bytes) in records.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                let start = usize::try_from(*offset).unwrap();
                file.resize(file.len().max(start + bytes.len()), 0);
                file[start..start + bytes.len()].copy_from_slice(bytes);
            }
            let stream = stream(&records);
            let mut findings = Findings::default();
            let flat = Flattened::open(&stream, &mut findings).unwrap();
            prop_assert!(findings.is_empty());
            prop_assert_eq!(flat.size(), file.len() as u64);
            for (start, size) in reads {
                let mut buffer = vec![0xEE; size];
                let read = flat.read_exact_at(FileOffset(start as u64), &mut buffer);
                prop_assert_eq!(read.is_ok(), start + size <= file.len());
                if read.is_ok() {
                    prop_assert_eq!(&buffer, &file[start..start + size]);
                    if let Some(place) = flat.place(start as u64, size as u64).filter(|_| size > 0) {
                        let place = usize::try_from(place.0).unwrap();
                        prop_assert_eq!(&buffer, &stream[place..place + size]);
                    }
                }
            }
        }

        #[test]
        fn a_cut_stream_has_a_finding(cut in 4096_usize..4300) {
            let whole = stream(&[(0, vec![1; 100]), (50, vec![2; 80])]);
            let stream = &whole[..cut.min(whole.len() - 1)];
            let mut findings = Findings::default();
            let flat = Flattened::open(&stream, &mut findings).unwrap();
            prop_assert!(!findings.is_empty());
            prop_assert!(flat.size() <= 130);
        }
    }
}
