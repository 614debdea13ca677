//! A page walk for tests: x64 with four levels, straight from the processor's manual, over the pages of one file.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel_dump::PAGE;

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// What page tables map.
#[derive(Default)]
pub struct Mapped {
    /// Pages that an address of the upper half leads to.
    pub kernel: BTreeSet<u64>,
    /// Pages that an address of the lower half leads to.
    pub user: BTreeSet<u64>,
    /// Page tables that the upper half is made of, roots included.
    pub kernel_tables: BTreeSet<u64>,
    /// Page tables that the lower half is made of.
    pub user_tables: BTreeSet<u64>,
}

/// The memory of a machine: a file and where each page lies in it.
pub struct Memory<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// The file offset of each page.
    pub places: BTreeMap<u64, usize>,
}

impl Memory<'_> {
    fn entries(&self, page: u64) -> Option<Vec<u64>> {
        let at = *self.places.get(&page)?;
        let words = self.bytes[at..at + PAGE].chunks_exact(8);
        Some(
            words
                .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
                .collect(),
        )
    }

    /// All that the tables of these roots map: valid entries, and those of pages in transition, which the processor
    /// takes for invalid but which are still in memory (Windows: bit 11 set, bits 0 and 10 clear).
    #[must_use]
    pub fn mapped(&self, roots: impl IntoIterator<Item = u64>) -> Mapped {
        let mut mapped = Mapped::default();
        let mut seen = BTreeSet::new();
        for root in roots {
            let root = (root & ADDRESS) / PAGE as u64;
            mapped.kernel_tables.insert(root);
            for (slot, entry) in self.entries(root).expect("a root").into_iter().enumerate() {
                let target = (entry & ADDRESS) / PAGE as u64;
                // The slot that leads back to the root shows the tables themselves.
                if entry & 1 == 1 && target != root {
                    self.walk(target, 3, slot >= 256, &mut mapped, &mut seen);
                }
            }
        }
        mapped
    }

    fn walk(&self, table: u64, level: u32, kernel: bool, mapped: &mut Mapped, seen: &mut BTreeSet<(u64, bool)>) {
        if !seen.insert((table, kernel)) {
            return;
        }
        let (tables, leaves) = match kernel {
            true => (&mut mapped.kernel_tables, &mut mapped.kernel),
            false => (&mut mapped.user_tables, &mut mapped.user),
        };
        tables.insert(table);
        let Some(entries) = self.entries(table) else { return };
        let mut further = Vec::new();
        for entry in entries {
            let target = (entry & ADDRESS) / PAGE as u64;
            match (level, entry & 1, entry & 0x80) {
                (1, 1, _) => drop(leaves.insert(target)),
                (1, _, _) if entry & 0xC01 == 0x800 => drop(leaves.insert(target)),
                (_, 1, 0) => further.push(target),
                (2 | 3, 1, _) => {
                    let pages = 1_u64 << (9 * (level - 1));
                    let first = target & !(pages - 1);
                    leaves.extend((first..first + pages).filter(|page| self.places.contains_key(page)));
                }
                _ => {}
            }
        }
        for target in further {
            self.walk(target, level - 1, kernel, mapped, seen);
        }
    }
}
