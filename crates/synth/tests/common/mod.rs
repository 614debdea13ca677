//! Machines as files.

use dotdump_format::kernel::DumpType;
use dotdump_format::{Error, FileOffset, PAGE_SIZE, Pfn, ReadAt};
use dotdump_synth::{HeaderStyle, SynthMachine};

/// A machine as a dump of all its pages.
pub(crate) struct FullDump {
    head: Vec<u8>,
    machine: SynthMachine,
}

impl FullDump {
    pub(crate) fn new(machine: SynthMachine) -> Self {
        let header = machine.header(DumpType::FULL, HeaderStyle::Crash).unwrap();
        let mut head = header.as_bytes().to_vec();
        let map = machine.ram().map();
        // PHYSICAL_MEMORY_DESCRIPTOR: count, (padding,) pages, and of each run its first page and number of pages.
        let (at, size) = if header.is_64() { (0x88, 8) } else { (0x64, 4) };
        let runs = map.runs().iter().flat_map(|(first, pages)| [first.0, *pages]);
        let words = [map.runs().len() as u64, map.pages()].into_iter().chain(runs);
        for (word, place) in words.zip(head[at..].chunks_exact_mut(size)) {
            place.copy_from_slice(&word.to_le_bytes()[..size]);
        }
        Self { head, machine }
    }

    pub(crate) const fn machine(&self) -> &SynthMachine {
        &self.machine
    }
}

impl ReadAt for FullDump {
    fn size(&self) -> u64 {
        self.head.len() as u64 + self.machine.ram().map().pages() * PAGE_SIZE
    }

    fn read_exact_at(&self, offset: FileOffset, buffer: &mut [u8]) -> Result<(), Error> {
        assert!(offset.0 + buffer.len() as u64 <= self.size(), "a read past the end");
        for (at, byte) in (offset.0..).zip(buffer) {
            *byte = match at.checked_sub(self.head.len() as u64) {
                None => self.head[usize::try_from(at).unwrap()],
                Some(at) => {
                    let mut page = at / PAGE_SIZE;
                    let runs = self.machine.ram().map().runs();
                    let run = runs.iter().find(|(_, pages)| match page.checked_sub(*pages) {
                        Some(rest) => {
                            page = rest;
                            false
                        }
                        None => true,
                    });
                    let content = self.machine.ram().page(Pfn(run.unwrap().0.0 + page));
                    content.map_or(0, |content| content[usize::try_from(at % PAGE_SIZE).unwrap()])
                }
            };
        }
        Ok(())
    }
}
