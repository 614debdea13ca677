//! `MemoryInfoListStream` (16): the map of the address space, free regions included.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::{Head, copy_sized_list, reserve_sized_list, write_sized_list};
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::addr::{VirtAddr, VirtRange};
use crate::error::{Error, Findings};
use crate::layout::{Layout, Reservation};
use crate::record::{Endian, Record, record};
use crate::table::Table;

record! {
    /// `MINIDUMP_MEMORY_INFO` (`minidumpapiset.h`), 48 bytes: one region, as `VirtualQuery` tells it.
    pub struct MemoryInfo[48] {
        /// The first address.
        pub base_address: U64,
        /// The first address of the allocation to which it belongs; 0 for a free region.
        pub allocation_base: U64,
        /// The protection with which it was allocated: [`MemoryProtect`].
        pub allocation_protect: U32,
        /// Padding.
        pub alignment1: U32,
        /// The number of bytes.
        pub region_size: U64,
        /// [`MemoryState`].
        pub state: U32,
        /// The protection now: [`MemoryProtect`]. 0 for a reserved region.
        pub protect: U32,
        /// [`MemoryType`]. 0 for a free region.
        pub memory_type: U32,
        /// Padding.
        pub alignment2: U32,
    }
}

bitflags::bitflags! {
    /// `MEM_*` (`winnt.h`): whether a region has memory. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MemoryState: u32 {
        /// It has memory.
        const COMMIT = 0x1000;
        /// Its addresses are taken, without memory.
        const RESERVE = 0x2000;
        /// It belongs to nothing.
        const FREE = 0x1_0000;

        const _ = !0;
    }

    /// `PAGE_*` (`winnt.h`): what may be done with a region. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MemoryProtect: u32 {
        /// Nothing.
        const NOACCESS = 0x1;
        /// Read.
        const READONLY = 0x2;
        /// Read and write.
        const READWRITE = 0x4;
        /// Read, and write to a copy.
        const WRITECOPY = 0x8;
        /// Execute.
        const EXECUTE = 0x10;
        /// Execute and read.
        const EXECUTE_READ = 0x20;
        /// Execute, read and write.
        const EXECUTE_READWRITE = 0x40;
        /// Execute, read, and write to a copy.
        const EXECUTE_WRITECOPY = 0x80;
        /// The first access raises an exception.
        const GUARD = 0x100;
        /// Not cached.
        const NOCACHE = 0x200;
        /// Writes are combined.
        const WRITECOMBINE = 0x400;
        /// Control-flow guard: no page of it is a valid target (`PAGE_TARGETS_INVALID`, `PAGE_TARGETS_NO_UPDATE`).
        const TARGETS_INVALID = 0x4000_0000;

        const _ = !0;
    }

    /// `MEM_*` (`winnt.h`): where the memory of a region comes from. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MemoryType: u32 {
        /// The process's own.
        const PRIVATE = 0x2_0000;
        /// A mapped file or section.
        const MAPPED = 0x4_0000;
        /// A mapped program or library.
        const IMAGE = 0x100_0000;

        const _ = !0;
    }
}

impl MemoryInfo {
    /// Its addresses.
    #[must_use]
    pub fn range(&self) -> VirtRange {
        VirtRange::sized(VirtAddr(self.base_address.get()), self.region_size.get())
    }

    /// Whether it has memory.
    #[must_use]
    pub const fn state(&self) -> MemoryState {
        MemoryState::from_bits_retain(self.state.get())
    }

    /// What may be done with it.
    #[must_use]
    pub const fn protect(&self) -> MemoryProtect {
        MemoryProtect::from_bits_retain(self.protect.get())
    }

    /// Where its memory comes from.
    #[must_use]
    pub const fn memory_type(&self) -> MemoryType {
        MemoryType::from_bits_retain(self.memory_type.get())
    }

    /// Whether it has memory.
    #[must_use]
    pub const fn is_committed(&self) -> bool {
        self.state().contains(MemoryState::COMMIT)
    }

    /// Whether a program could read it without an exception.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        let forbidden = MemoryProtect::NOACCESS.union(MemoryProtect::GUARD);
        self.is_committed() && !self.protect().is_empty() && !self.protect().intersects(forbidden)
    }

    /// Whether a program could write to it without an exception.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        let writable = MemoryProtect::READWRITE
            .union(MemoryProtect::WRITECOPY)
            .union(MemoryProtect::EXECUTE_READWRITE)
            .union(MemoryProtect::EXECUTE_WRITECOPY);
        self.is_readable() && self.protect().intersects(writable)
    }
}

/// The regions of a MemoryInfoListStream.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInfoList<'a> {
    /// The regions; in what Windows writes, in ascending order and without gaps.
    pub regions: Table<'a, MemoryInfo>,
    endian: Endian,
}

impl<'a> StreamContent<'a> for MemoryInfoList<'a> {
    const TYPE: StreamType = StreamType::MEMORY_INFO_LIST;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        Ok(Self {
            regions: stream.sized_list(Head::Wide, MemoryInfo::SIZE, "MemoryInfoList", findings)?,
            endian: stream.endian,
        })
    }
}

impl WriteStream for MemoryInfoList<'_> {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        copy_sized_list(layout, Head::Wide, &self.regions, self.endian, "MemoryInfoList")
    }
}

/// Lays out a MemoryInfoList.
///
/// # Errors
/// [`Error::TooLarge`] where the place does not fit.
pub fn write(layout: &mut Layout, regions: &[MemoryInfo]) -> Result<LocationDescriptor, Error> {
    write_sized_list(layout, Head::Wide, regions, "MemoryInfoList")
}

/// Room for a MemoryInfoList of `len` regions, with the head written. Region *i* goes `i * 48` bytes into it.
///
/// # Errors
/// [`Error::TooLarge`] where the place does not fit.
pub fn reserve(layout: &mut Layout, len: usize) -> Result<(Reservation, LocationDescriptor), Error> {
    reserve_sized_list(layout, Head::Wide, 48, len, "MemoryInfoList")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::MEMORY_INFO_LIST;

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            to in test_dump::endian(),
            regions in proptest::collection::vec(test_dump::record::<MemoryInfo>(), 0..8),
        ) {
            let file = test_dump::build(endian, TYPE, &[], |layout| write(layout, &regions));
            let list: MemoryInfoList<'_> = test_dump::read_clean(&file);
            prop_assert_eq!(&list.regions.to_vec().unwrap(), &regions);
            let copy = test_dump::build(to, TYPE, &file, |layout| list.write(layout));
            let list: MemoryInfoList<'_> = test_dump::read_clean(&copy);
            prop_assert_eq!(&list.regions.to_vec().unwrap(), &regions);
        }
    }

    fn region(state: u32, protect: u32) -> MemoryInfo {
        MemoryInfo {
            base_address: 0x1000.into(),
            region_size: 0x2000.into(),
            state: state.into(),
            protect: protect.into(),
            ..MemoryInfo::default()
        }
    }

    // Sizes and offsets: section 3.14 of the format reference.
    #[test]
    fn the_head_is_16_bytes_with_a_64_bit_count() {
        let file = test_dump::build(Endian::Little, TYPE, &[], |layout| write(layout, &[region(0x1000, 4)]));
        let bytes = &file[test_dump::STREAM..];
        assert_eq!(bytes[..16], [16, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0, 0x10, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[40..48], [0, 0x20, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[48..56], [0, 0x10, 0, 0, 4, 0, 0, 0]);
        assert_eq!(bytes.len(), 16 + 48);
    }

    #[test]
    fn access_follows_from_state_and_protection() {
        // (state, protect, readable, writable)
        for (state, protect, readable, writable) in [
            (0x1000, 0x04, true, true),
            (0x1000, 0x02, true, false),
            (0x1000, 0x08, true, true),
            (0x1000, 0x20, true, false),
            (0x1000, 0x40, true, true),
            (0x1000, 0x80, true, true),
            (0x1000, 0x104, false, false),
            (0x1000, 0x01, false, false),
            (0x1000, 0x00, false, false),
            (0x2000, 0x00, false, false),
            (0x10000, 0x01, false, false),
        ] {
            let region = region(state, protect);
            assert_eq!(
                (region.is_readable(), region.is_writable()),
                (readable, writable),
                "{region:?}"
            );
            assert_eq!(region.is_committed(), state == 0x1000);
        }
    }

    #[test]
    fn a_region_at_the_end_of_the_address_space_does_not_wrap() {
        let mut region = region(0x1000, 4);
        region.base_address = (u64::MAX - 1).into();
        assert_eq!(region.range().size(), 1);
    }

    #[test]
    fn shorter_entries_miss_fields() {
        let mut bytes = Vec::from([16, 0, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0xFF; 36]);
        let file = test_dump::raw(Endian::Little, TYPE, &bytes);
        let (list, findings) = test_dump::read::<MemoryInfoList<'_>>(&file);
        let region = list.unwrap().regions.get(0).unwrap();
        assert_eq!((region.state.get(), region.protect.get()), (u32::MAX, 0));
        assert_eq!(findings.total(), 1);
    }

    #[test]
    fn counts_and_sizes_out_of_bounds() {
        for (header, entry, count, usable) in [
            (16_u32, 48_u32, u64::MAX, true),
            (16, 1, u64::MAX, true),
            (16, u32::MAX, 1, true),
            (u32::MAX, 48, 1, true),
            (16, 0, u64::MAX, false),
            (0, 48, 1, false),
            (1, 48, 1, false),
        ] {
            let mut bytes = Vec::new();
            bytes.extend(header.to_le_bytes());
            bytes.extend(entry.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend([0; 96]);
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (list, findings) = test_dump::read::<MemoryInfoList<'_>>(&file);
            assert_eq!(list.is_ok(), usable, "{header} {entry} {count}");
            if let Ok(list) = list {
                assert!(list.regions.len() <= 96 && list.regions.to_vec().is_ok());
                assert!(!findings.is_empty(), "{header} {entry} {count}");
            }
        }
    }

    #[test]
    fn damage_never_panics() {
        let regions = [region(0x1000, 4), region(0x2000, 0)];
        let file = test_dump::build(Endian::Little, TYPE, &[], |layout| write(layout, &regions));
        test_dump::damaged(&file, |file| {
            if let Ok(list) = test_dump::read::<MemoryInfoList<'_>>(file).0 {
                for region in &list.regions {
                    let region = region.unwrap();
                    let _ = (region.range(), region.is_writable());
                }
            }
        });
    }
}
