//! Which pages of a machine a dump keeps.
//!
//! Windows does not say which pages it keeps in its own kernel and active dumps beyond a few sentences: kernel memory is
//! what the kernel's addresses lead to; active memory leaves out what is free, and what could be read again from a file.
//! Here page tables decide about the one, and the page frame database about the other. Each page has one reason.

mod check;
mod chosen;
mod reason;
mod states;
mod walked;

use dotdump_format::{Error, Pfn};
use dotdump_snapshot::{MachineSnapshot, PageSet, PhysicalMemory};

pub use check::{Lost, lost};
pub use chosen::ChosenMemory;
pub use reason::{PageReason, ReasonCount, Reasons};
pub use states::{PageState, PageStates};
use walked::Walked;
pub use walked::Walks;

/// The pages that a dump keeps, and why it keeps and drops pages of the source.
#[derive(Clone, Debug, Default)]
pub struct PageSelection {
    /// The pages.
    pub pages: PageSet,
    /// How many pages of the source are kept or dropped for each reason.
    pub reasons: Reasons,
    /// The walks over page tables by which they were chosen.
    pub walks: Walks,
}

/// The pages that a source has.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn present(physical: &dyn PhysicalMemory) -> Result<PageSet, Error> {
    let mut pages = PageSet::default();
    physical.insert_all_into(&mut pages)?;
    Ok(pages)
}

/// All pages.
#[must_use]
pub fn complete(present: PageSet) -> PageSelection {
    let mut reasons = Reasons::default();
    reasons.add(PageReason::Complete, present.len());
    PageSelection {
        pages: present,
        reasons,
        walks: Walks::default(),
    }
}

/// The pages that kernel addresses lead to, and all page tables.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn kernel(snapshot: &dyn MachineSnapshot, present: &PageSet) -> Result<PageSelection, Error> {
    let Walked {
        kernel,
        user,
        startup,
        walks,
    } = walked::walk(snapshot, present)?;
    let mut selection = PageSelection {
        walks,
        ..PageSelection::default()
    };
    let mut from = Pfn(0);
    while let Some((page, bits)) = present.next_word(from) {
        let users = user.mapped(page);
        let mut word = Word::new(page, bits, &mut selection);
        word.sort(kernel.tables.word(page), PageReason::KernelPageTable);
        word.sort(user.tables.word(page), PageReason::UserPageTable);
        word.sort(kernel.mapped(page) & users, PageReason::KernelAndUser);
        word.sort(kernel.valid.word(page), PageReason::Kernel);
        word.sort(kernel.transition.word(page), PageReason::KernelTransition);
        word.sort(kernel.prototype.word(page), PageReason::KernelPrototype);
        word.sort(users, PageReason::UserOnly);
        word.sort(startup.word(page), PageReason::StartupCode);
        word.sort(u64::MAX, PageReason::Unmapped);
        from = Pfn(page.0 + 64);
    }
    Ok(selection)
}

/// The pages that are in use, by the page frame database. Where it says nothing of a page or calls it free, and without
/// it, page tables decide. What a valid entry leads to is kept whatever the database says: without it addresses would
/// not translate.
///
/// # Errors
/// [`Error::Read`] where the medium fails.
pub fn active(
    snapshot: &dyn MachineSnapshot,
    present: &PageSet,
    states: Option<&dyn PageStates>,
) -> Result<PageSelection, Error> {
    let walked = walked::walk(snapshot, present)?;
    let mut sorter = ActiveSorter {
        present,
        selection: PageSelection {
            walks: walked.walks,
            ..PageSelection::default()
        },
        walked,
        next: Pfn(0),
        states: WordOfStates::default(),
    };
    if let Some(states) = states {
        states.for_each(Pfn(0), present.end(), &mut |page, state| sorter.state(page, state))?;
    }
    sorter.upto(Pfn(u64::MAX));
    Ok(sorter.selection)
}

/// 64 pages that are being sorted.
struct Word<'a> {
    page: Pfn,
    /// Those that have no reason yet.
    left: u64,
    selection: &'a mut PageSelection,
}

impl<'a> Word<'a> {
    const fn new(page: Pfn, bits: u64, selection: &'a mut PageSelection) -> Self {
        Self {
            page,
            left: bits,
            selection,
        }
    }

    /// Gives those of `bits` that have no reason yet this one.
    fn sort(&mut self, bits: u64, reason: PageReason) {
        let hit = self.left & bits;
        self.left &= !hit;
        self.selection.reasons.add(reason, u64::from(hit.count_ones()));
        if reason.is_kept() {
            self.selection.pages.insert_word(self.page, hit);
        }
    }
}

/// The states of 64 pages.
#[derive(Clone, Copy, Default)]
struct WordOfStates {
    page: u64,
    active: u64,
    locked: u64,
    transition: u64,
    page_file_backed: u64,
    file_backed: u64,
    zeroed: u64,
    free: u64,
    bad: u64,
}

impl WordOfStates {
    const fn of(&mut self, state: PageState) -> &mut u64 {
        match state {
            PageState::Zeroed => &mut self.zeroed,
            PageState::Free => &mut self.free,
            PageState::Listed { is_file_backed: true } => &mut self.file_backed,
            PageState::Listed { is_file_backed: false } => &mut self.page_file_backed,
            PageState::Bad => &mut self.bad,
            PageState::Active { is_driver_locked: true } => &mut self.locked,
            PageState::Active {
                is_driver_locked: false,
            } => &mut self.active,
            PageState::Transition => &mut self.transition,
        }
    }

    const fn known(&self) -> u64 {
        self.active
            | self.locked
            | self.transition
            | self.page_file_backed
            | self.file_backed
            | self.zeroed
            | self.free
            | self.bad
    }
}

/// Sorts the pages of a source word by word, as their states come in.
struct ActiveSorter<'a> {
    present: &'a PageSet,
    walked: Walked,
    selection: PageSelection,
    /// Pages before this one are sorted.
    next: Pfn,
    /// The states of the 64 pages that come next.
    states: WordOfStates,
}

impl ActiveSorter<'_> {
    fn state(&mut self, page: Pfn, state: PageState) {
        let word = page.0 & !63;
        if word != self.states.page {
            self.upto(Pfn(word));
            self.states = WordOfStates {
                page: word,
                ..WordOfStates::default()
            };
        }
        *self.states.of(state) |= 1 << (page.0 & 63);
    }

    /// Sorts all pages before `end` that are not sorted yet.
    fn upto(&mut self, end: Pfn) {
        while let Some((page, bits)) = self.present.next_word(self.next).filter(|(page, _)| *page < end) {
            let states = match self.states.page == page.0 {
                true => self.states,
                false => WordOfStates::default(),
            };
            self.word(page, bits, &states);
            self.next = Pfn(page.0.saturating_add(64));
        }
    }

    fn word(&mut self, page: Pfn, bits: u64, states: &WordOfStates) {
        let Walked { kernel, user, .. } = &self.walked;
        let tables = kernel.tables.word(page) | user.tables.word(page);
        let mapped = tables | kernel.mapped(page) | user.mapped(page);
        let mut word = Word::new(page, bits, &mut self.selection);
        word.sort(states.active | states.locked & mapped, PageReason::Active);
        word.sort(states.transition, PageReason::Transition);
        word.sort(states.page_file_backed, PageReason::PageFileBacked);
        word.sort(kernel.tables.word(page), PageReason::KernelPageTable);
        word.sort(user.tables.word(page), PageReason::UserPageTable);
        word.sort(kernel.valid.word(page), PageReason::Kernel);
        word.sort(user.valid.word(page), PageReason::User);
        // A page that an entry in transition leads to is not free: one of both is wrong, and keeping is the safer way.
        let unknown = !states.known() | states.zeroed | states.free;
        word.sort(unknown & kernel.transition.word(page), PageReason::KernelTransition);
        word.sort(unknown & kernel.prototype.word(page), PageReason::KernelPrototype);
        word.sort(unknown & user.mapped(page), PageReason::UserTransition);
        word.sort(self.walked.startup.word(page), PageReason::StartupCode);
        word.sort(states.zeroed, PageReason::Zeroed);
        word.sort(states.free, PageReason::Free);
        word.sort(states.file_backed, PageReason::FileCache);
        word.sort(states.bad, PageReason::Bad);
        word.sort(states.locked, PageReason::DriverLocked);
        word.sort(u64::MAX, PageReason::Unmapped);
    }
}
