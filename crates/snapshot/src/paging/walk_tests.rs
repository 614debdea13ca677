use std::collections::BTreeMap;

use dotdump_format::PAGE_SIZE;
use proptest::prelude::*;

use super::test_tables::Tables;
use super::tests::{ALL, LATE, MODES, mappings, space};
use super::*;

/// Which tables were shown; says no to some.
#[derive(Default)]
struct Seen {
    tables: Vec<(u64, u8, u64)>,
    mappings: Vec<Mapping>,
    refused: Option<u64>,
}

impl Visitor for Seen {
    fn table(&mut self, page: Pfn, level: u8, start: VirtAddr) -> bool {
        self.tables.push((page.0, level, start.0));
        self.refused != Some(page.0)
    }

    fn mapping(&mut self, mapping: &Mapping) {
        self.mappings.push(*mapping);
    }
}

#[test]
fn tables_are_shown_before_what_they_map() {
    let mut tables = Tables::new(PagingMode::FourLevel);
    tables.map(0x1000, 0x5000);
    tables.map(0xFFFF_F800_0000_0000, 0x6000);
    let space = space(&tables, LATE);
    let mut seen = Seen::default();
    assert_eq!(space.visit(ALL, &mut seen).unwrap(), Visit::default());
    let root = tables.root / PAGE_SIZE;
    let expected = [
        (root, 4, 0),
        (root + 1, 3, 0),
        (root + 2, 2, 0),
        (root + 3, 1, 0),
        (root + 4, 3, 0xFFFF_F800_0000_0000),
        (root + 5, 2, 0xFFFF_F800_0000_0000),
        (root + 6, 1, 0xFFFF_F800_0000_0000),
    ];
    assert_eq!(seen.tables, expected);
    assert_eq!(seen.mappings.len(), 2);

    let mut seen = Seen {
        refused: Some(root + 2),
        ..Seen::default()
    };
    space.visit(ALL, &mut seen).unwrap();
    assert_eq!(seen.tables.len(), 6);
    assert_eq!(seen.mappings.len(), 1);

    let mut seen = Seen::default();
    space.visit(PagingMode::FourLevel.user_half(), &mut seen).unwrap();
    assert_eq!(seen.tables, expected[..4]);
}

/// Tables that refer to one another in circles: 512^4 ways through one page.
#[test]
fn circles_end() {
    for mode in MODES {
        // Through the root itself, and through another page.
        for index in 0..if mode == PagingMode::FourLevel { 2 } else { 1 } {
            let mut tables = Tables::new(mode);
            let other = tables.root + PAGE_SIZE * index;
            tables.memory.write(other, &[0; 4096]);
            // With the bits of a table, a page and a large page that it may be.
            let bits = match mode {
                PagingMode::Arm64 => 3,
                PagingMode::Pae => 1,
                _ => 0x67,
            };
            for page in [tables.root, other] {
                for slot in 0..PAGE_SIZE / mode.entry_size() {
                    tables.set(page + slot * mode.entry_size(), other | bits);
                }
            }
            let space = space(&tables, LATE);
            let mut seen = Seen {
                mappings: Vec::new(),
                ..Seen::default()
            };
            let mut mappings = 0_u64;
            let mut walk = space.mappings(ALL);
            while let Some(found) = walk.next().transpose().unwrap() {
                mappings += found.pages();
            }
            let stopped = walk.visit().stopped_at;
            let end = space.visit(ALL, &mut Counting(&mut seen)).unwrap();
            assert_eq!(end.stopped_at, stopped);
            assert!(mappings < 40_000_000, "{mode:?}: {mappings}");
            assert!(seen.tables.len() < 40_000, "{mode:?}: {}", seen.tables.len());
            assert!(space.translate(VirtAddr(0x1234_5678)).unwrap().is_ok());
            space.pte_base().unwrap();
        }
    }
}

/// Keeps tables alone.
struct Counting<'a>(&'a mut Seen);

impl Visitor for Counting<'_> {
    fn table(&mut self, page: Pfn, level: u8, start: VirtAddr) -> bool {
        self.0.table(page, level, start)
    }

    fn mapping(&mut self, _: &Mapping) {}
}

#[test]
fn pages_of_noise_are_harmless() {
    for mode in MODES {
        let mut tables = Tables::new(mode);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for page in 0..64 {
            for word in 0..512 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Half of the addresses lie within the noise.
                let word_there = if state >> 40 & 1 == 0 {
                    state
                } else {
                    state & !0x000F_FFFF_FFFF_F000 | (0x10_0000 + (state & 0x3F_000))
                };
                tables
                    .memory
                    .write(0x10_0000 + page * PAGE_SIZE + word * 8, &word_there.to_le_bytes());
            }
        }
        for software in [SoftwarePtes::None, SoftwarePtes::Early, SoftwarePtes::Middle, LATE] {
            let space = space(&tables, software);
            let mut last = 0;
            for found in space.mappings(ALL).take(100_000).map(Result::unwrap) {
                assert!(found.range.start.0 >= last && !found.range.is_empty());
                last = found.range.end.0;
                let translated = space.translate(found.range.start).unwrap().unwrap();
                assert_eq!(translated.address, found.physical);
            }
        }
    }
}

/// Where pages may lie, so that tables are shared and borders are met.
fn pages_of(mode: PagingMode) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let half = mode.half();
    let spots = [
        0,
        0x20_0000,
        0x3FF_F000 & (half - 1),
        half - 0x8000,
        half,
        half + 0x1F_E000,
        half * 2 - 0x10_0000,
    ];
    let page = (prop::sample::select(spots.to_vec()), 0_u64..16, 0_u64..24);
    prop::collection::vec(page, 0..60).prop_map(move |pages| {
        let place = |spot: u64, page: u64| (spot + page * PAGE_SIZE) & (half * 2 - 1) & !(PAGE_SIZE - 1);
        pages
            .into_iter()
            .map(|(spot, page, frame)| (place(spot, page), 0x4000_0000 + frame * PAGE_SIZE))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was put into the tables is found by both walks, and nothing else.
    #[test]
    fn what_is_mapped_is_found(
        (mode, pages) in prop::sample::select(MODES.to_vec()).prop_flat_map(|mode| (Just(mode), pages_of(mode))),
        cut in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut tables = Tables::new(mode);
        let mut model = BTreeMap::new();
        for (linear, frame) in pages {
            tables.map(linear, frame);
            model.insert(mode.address(linear).0, frame);
        }
        let space = space(&tables, LATE);
        let mut found = BTreeMap::new();
        let all = mappings(&space);
        for mapping in &all {
            prop_assert_eq!(mapping.provenance, Provenance::Valid);
            for page in 0..mapping.pages() {
                let at = mapping.range.start.0 + page * PAGE_SIZE;
                prop_assert!(found.insert(at, mapping.physical.0 + page * PAGE_SIZE).is_none());
            }
        }
        prop_assert_eq!(&found, &model);
        let joined = all.windows(2).all(|pair| {
            pair[0].range.end != pair[1].range.start
                || pair[0].physical.0 + pair[0].range.size() != pair[1].physical.0
                || mode.linear(pair[1].range.start) == Some(mode.half())
        });
        prop_assert!(joined, "runs are as long as possible: {:?}", all);
        for address in model.keys().flat_map(|address| [address.wrapping_sub(PAGE_SIZE), *address, address.wrapping_add(PAGE_SIZE)]) {
            let translated = space.translate(VirtAddr(address)).unwrap();
            prop_assert_eq!(translated.ok().map(|found| found.address.0), model.get(&address).copied());
        }
        // A part of it.
        if !model.is_empty() {
            let keys: Vec<u64> = model.keys().copied().collect();
            let (from, to) = (*cut.0.get(&keys), *cut.1.get(&keys));
            let (from, to) = (from.min(to), from.max(to) + 0x800);
            let parts = space.mappings(VirtRange::new(VirtAddr(from), VirtAddr(to))).map(Result::unwrap);
            let pages: u64 = parts.map(|part| part.pages()).sum();
            prop_assert_eq!(pages, model.range(from..to).count() as u64);
        }
    }
}
