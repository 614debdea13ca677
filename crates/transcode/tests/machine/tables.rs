//! Page tables of x64, and what they lead to by the record of whoever made them.

use std::collections::BTreeSet;

use dotdump_format::PhysAddr;
use dotdump_format::VirtAddr;
use dotdump_snapshot::machine::Process;

use crate::common::Ram;

/// The slot by which the tables map themselves.
const SELF: u64 = 0x1ED;

/// How an address is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Valid,
    Transition,
    /// By a prototype entry that lies at this kernel address.
    Prototype(u64),
    /// 2 MiB.
    Large,
}

/// Tables of a machine that are being built. Tables come from `next` on.
pub(crate) struct Tables {
    pub(crate) ram: Ram,
    pub(crate) system: u64,
    pub(crate) processes: Vec<Process>,
    next: u64,
    pub(crate) kernel_tables: BTreeSet<u64>,
    pub(crate) user_tables: BTreeSet<u64>,
}

impl Tables {
    /// Tables of a kernel: all 256 slots of its half have a table, which processes then share.
    pub(crate) fn new(ram: Ram, first: u64) -> Self {
        let mut tables = Self {
            ram,
            system: 0,
            processes: Vec::new(),
            next: first,
            kernel_tables: BTreeSet::new(),
            user_tables: BTreeSet::new(),
        };
        tables.system = tables.root();
        for slot in [0x1F0, 0x1F1, 0x1FF] {
            let table = tables.table(true);
            tables
                .ram
                .put(tables.system * 0x1000 + slot * 8, &(table << 12 | 0x63).to_le_bytes());
        }
        tables
    }

    fn table(&mut self, is_kernel: bool) -> u64 {
        let page = self.next;
        self.next += 1;
        self.ram.add_zeroed(page);
        let tables = if is_kernel {
            &mut self.kernel_tables
        } else {
            &mut self.user_tables
        };
        tables.insert(page);
        page
    }

    fn root(&mut self) -> u64 {
        let root = self.table(true);
        self.ram
            .put(root * 0x1000 + SELF * 8, &(root << 12 | 0x63).to_le_bytes());
        root
    }

    /// A process with the kernel's upper half. Its id is its number.
    pub(crate) fn process(&mut self) -> u64 {
        let root = self.root();
        for slot in (256..512).filter(|slot| *slot != SELF) {
            let entry = self.ram.word(self.system * 0x1000 + slot * 8);
            self.ram.put(root * 0x1000 + slot * 8, &entry.to_le_bytes());
        }
        self.processes.push(Process {
            eprocess: VirtAddr(0),
            id: self.processes.len() as u64,
            parent_id: None,
            name: "process".to_owned(),
            // With a PCID, as the field has it.
            directory_table_base: PhysAddr(root << 12 | 2),
            user_directory_table_base: None,
            peb: VirtAddr(0),
        });
        root
    }

    pub(crate) fn map(&mut self, root: u64, address: u64, page: u64, by: By) {
        let is_kernel = address >> 63 == 1;
        let rights = if is_kernel { 0x63 } else { 0x67 };
        let mut table = root;
        let last = if by == By::Large { 2 } else { 1 };
        for level in (last + 1..=4_u64).rev() {
            let at = table * 0x1000 + (address >> (3 + 9 * level) & 0x1FF) * 8;
            let entry = self.ram.word(at);
            table = if entry == 0 {
                let new = self.table(is_kernel);
                self.ram.put(at, &(new << 12 | rights).to_le_bytes());
                new
            } else {
                entry >> 12 & 0xFF_FFFF_FFFF
            };
        }
        let at = table * 0x1000 + (address >> (3 + 9 * last) & 0x1FF) * 8;
        let entry = match by {
            By::Valid => page << 12 | rights,
            By::Large => page << 12 | rights | 0x80,
            By::Transition => page << 12 | 0x800,
            By::Prototype(entry) => entry << 16 | 0x400,
        };
        self.ram.put(at, &entry.to_le_bytes());
    }
}
