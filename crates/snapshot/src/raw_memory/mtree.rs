//! What QEMU's monitor prints for `info mtree -f`: the flat views of a guest's address spaces.
//!
//! ```text
//! FlatView #1
//!  AS "memory", root: system
//!  Root memory region: system
//!   0000000000000000-00000000000c2fff (prio 0, ram): mem
//!   00000000000c3000-00000000000e3fff (prio 0, rom): mem @00000000000c3000
//!   00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
//!   0000000100000000-000000017fffffff (prio 0, ram): mem @0000000004000000
//! ```
//!
//! The number behind `@` is the offset in the RAM block. A part of a block that the guest cannot write is called `rom`
//! and is in the block's file like the rest.

use std::collections::BTreeMap;

use dotdump_format::{FileOffset, Findings, PhysAddr};

use super::memory_map::{MapError, MemoryMap, MemoryRegion};

/// The address space that processors and devices see.
const SPACE: &str = "AS \"memory\",";

/// A line about memory.
struct Line<'a> {
    block: &'a str,
    kind: &'a str,
    region: MemoryRegion,
}

pub(super) fn parse(text: &str) -> Result<MemoryMap, MapError> {
    let named = text.contains(SPACE);
    let mut wanted = !named;
    let mut in_names = false;
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with("FlatView #") {
            // Without names, the first view with RAM counts: others show the same RAM to others.
            if !named && !lines.is_empty() {
                break;
            }
            wanted = !named;
        }
        let is_name = line.starts_with("AS \"");
        if named && is_name {
            // A view is shared by several address spaces, each with a line.
            wanted = (in_names && wanted) || line.starts_with(SPACE);
        }
        in_names = is_name;
        if wanted && line.contains("(prio ") {
            let parsed = memory_line(line).ok_or_else(|| MapError {
                line: index + 1,
                message: "`START-END (prio N, KIND): NAME @OFFSET` expected".to_owned(),
            })?;
            if matches!(parsed.kind, "ram" | "rom" | "romd" | "nv-ram" | "nvram") {
                lines.push(parsed);
            }
        }
    }
    let mut blocks: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.kind == "ram") {
        let size = blocks.entry(line.block).or_default();
        *size = size.saturating_add(line.region.size);
    }
    let Some((&block, _)) = blocks.iter().max_by_key(|(_, size)| **size) else {
        return Err(MapError {
            line: 0,
            message: "no RAM in the address space `memory`".to_owned(),
        });
    };
    let mut findings = Findings::default();
    for (other, size) in blocks.iter().filter(|(other, _)| **other != block) {
        let message =
            format!("{size:#x} bytes of the RAM block `{other}` are not in the file, which has block `{block}`");
        findings.add(FileOffset(0), "memory map", message);
    }
    let of_block = lines.iter().filter(|line| line.block == block);
    Ok(MemoryMap {
        regions: of_block.map(|line| line.region).collect(),
        findings,
    })
}

fn memory_line(line: &str) -> Option<Line<'_>> {
    let (range, rest) = line.split_once(" (prio ")?;
    let (start, last) = range.trim().split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let last = u64::from_str_radix(last, 16).ok()?;
    let (_, rest) = rest.split_once(", ")?;
    let (kind, rest) = rest.split_once("): ")?;
    let (block, offset) = match rest.rsplit_once(" @") {
        Some((block, offset)) => {
            let digits = offset.split_whitespace().next()?;
            (block, u64::from_str_radix(digits, 16).ok()?)
        }
        // The accelerators that map the region may be named behind it.
        None => (rest.strip_suffix(" KVM").unwrap_or(rest), 0),
    };
    Some(Line {
        block,
        kind,
        region: MemoryRegion {
            start: PhysAddr(start),
            // The whole address space, as some devices' root regions are, is no RAM and not a size of 64 bits.
            size: last.checked_sub(start)?.saturating_add(1),
            offset: FileOffset(offset),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n  \
        0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\n\nFlatView #1\n AS \"cpu-memory-0\", root: system\n \
        AS \"memory\", root: system\n AS \"vga\", root: bus master container\n Root memory region: system\n  \
        0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM\n  \
        00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n  \
        00000000000c0000-00000000bfffffff (prio 0, rom): pc.ram @00000000000c0000 KVM\n  \
        00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n  \
        0000000100000000-000000013fffffff (prio 0, ram): pc.ram @00000000c0000000\n\n\
        FlatView #2\n AS \"other\", root: x\n  0000000000000000-00000000ffffffff (prio 0, ram): pc.ram\n";

    #[test]
    fn the_largest_block_of_the_address_space_memory() {
        let map = MemoryMap::parse(TEXT).unwrap();
        let regions: Vec<_> = map
            .regions
            .iter()
            .map(|region| (region.start.0, region.size, region.offset.0))
            .collect();
        let expected = [
            (0, 0xA_0000, 0),
            (0xC_0000, 0xBFF4_0000, 0xC_0000),
            (1 << 32, 1 << 30, 0xC000_0000),
        ];
        assert_eq!(regions, expected);
        assert_eq!(
            map.findings.total(),
            1,
            "the RAM of the graphics card is told: {:?}",
            map.findings
        );
    }

    #[test]
    fn views_without_names() {
        let lines = "  0000000000000000-0000000000000fff (prio 0, ram): ram\n";
        assert_eq!(MemoryMap::parse(lines).unwrap().regions[0].size, 0x1000);
        let error = MemoryMap::parse("  0000000000000000-000000000000xfff (prio 0, ram): ram\n").unwrap_err();
        assert_eq!(error.line, 1);
        assert_eq!(MemoryMap::parse("FlatView #0\n").unwrap_err().line, 0);
    }
}
