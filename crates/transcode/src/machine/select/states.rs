//! What the page frame database of a machine says of its pages.

use std::ops::ControlFlow;

use dotdump_format::kernel::pfn::{self, PageLocation};
use dotdump_format::{Error, Pfn};
use dotdump_snapshot::machine::PfnDatabase;

/// What a page is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Free, and zeroed.
    Zeroed,
    /// Free.
    Free,
    /// On the standby list, or on one of modified pages.
    Listed {
        /// Whether its content is that of a file other than a page file.
        is_file_backed: bool,
    },
    /// Broken memory.
    Bad,
    /// In use.
    Active {
        /// Whether a driver locked it without anything else to show for it.
        is_driver_locked: bool,
    },
    /// Between two states.
    Transition,
}

/// The page frame database of a machine.
pub trait PageStates {
    /// Calls `each` for the pages from `first` up to `end` that the database describes, in ascending order.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    fn for_each(&self, first: Pfn, end: Pfn, each: &mut dyn FnMut(Pfn, PageState)) -> Result<(), Error>;
}

impl PageStates for PfnDatabase<'_> {
    fn for_each(&self, first: Pfn, end: Pfn, each: &mut dyn FnMut(Pfn, PageState)) -> Result<(), Error> {
        self.visit(first, end, &mut |page, state| {
            each(page, PageState::of(state));
            ControlFlow::Continue(())
        })
    }
}

/// What the highest bits of the frame of the page table hold for pages that a driver locked (MemProcFS).
const DRIVER_LOCKED: u64 = 0xF;

impl PageState {
    /// What an entry of the database says.
    #[must_use]
    pub const fn of(state: &pfn::PageState) -> Self {
        match state.location {
            PageLocation::Zeroed => Self::Zeroed,
            PageLocation::Free => Self::Free,
            PageLocation::Standby | PageLocation::Modified | PageLocation::ModifiedNoWrite => Self::Listed {
                is_file_backed: state.is_file_backed(),
            },
            PageLocation::Bad => Self::Bad,
            PageLocation::Active => Self::Active {
                is_driver_locked: state.pte_frame.0 >> 32 == DRIVER_LOCKED,
            },
            PageLocation::Transition => Self::Transition,
        }
    }
}
