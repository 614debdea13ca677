//! The memory of a machine as a dump will show it.

use dotdump_format::{Error, PAGE_SIZE, Pfn, PhysAddr};
use dotdump_snapshot::{PagePlace, PageRun, PageSet, PhysicalMemory};

/// Those pages of a source that were chosen.
#[derive(Clone, Copy)]
pub struct ChosenMemory<'a> {
    /// The source, which has all of them.
    pub source: &'a dyn PhysicalMemory,
    /// The pages.
    pub pages: &'a PageSet,
}

impl PhysicalMemory for ChosenMemory<'_> {
    fn next_run(&self, from: Pfn) -> Result<Option<PageRun>, Error> {
        let Some((first, end)) = self.pages.next_run(from) else {
            return Ok(None);
        };
        let run = self.source.next_run(first)?.and_then(|run| run.from(first));
        Ok(run.map(|run| PageRun {
            pages: run.pages.min(end.0.saturating_sub(run.first.0)),
            ..run
        }))
    }

    fn place(&self, page: Pfn) -> Result<Option<PagePlace>, Error> {
        if self.pages.contains(page) {
            self.source.place(page)
        } else {
            Ok(None)
        }
    }

    fn read(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address
                .checked_add(done as u64)
                .filter(|at| self.pages.contains(at.pfn()))
            else {
                break;
            };
            let within = usize::try_from(PAGE_SIZE - at.offset_in_page()).unwrap_or(0);
            let step = within.min(buffer.len() - done);
            let there = self.source.read(at, &mut buffer[done..][..step])?;
            done += there;
            if there < step {
                break;
            }
        }
        Ok(done)
    }

    fn pages_present(&self) -> u64 {
        self.pages.len()
    }

    fn end(&self) -> Pfn {
        self.source.end()
    }
}
