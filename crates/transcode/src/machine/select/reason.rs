//! Why a page is kept or dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why a page of the source is in a dump, or is not. The first reason that applies, in this order within a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageReason {
    /// All pages of the source are kept.
    Complete,
    /// It holds page tables of kernel addresses.
    KernelPageTable,
    /// It holds page tables of a process's addresses.
    UserPageTable,
    /// It has the code from which the processors of an x64 machine start, by which readers find the page tables.
    StartupCode,
    /// Both a kernel address and an address of a process lead to it.
    KernelAndUser,
    /// A kernel address leads to it.
    Kernel,
    /// A kernel address leads to it, by an entry in transition.
    KernelTransition,
    /// A kernel address leads to it, by way of a prototype entry.
    KernelPrototype,
    /// The page frame database calls it active.
    Active,
    /// The page frame database calls it in transition.
    Transition,
    /// It is on a standby or modified list, and belongs to a page file.
    PageFileBacked,
    /// An address of a process leads to it.
    User,
    /// An address of a process leads to it, by an entry in transition or by way of a prototype entry.
    UserTransition,
    /// Dropped: it is page 0, for which the layout has no name.
    PageZero,
    /// Dropped: only processes' addresses lead to it.
    UserOnly,
    /// Dropped: no address leads to it.
    Unmapped,
    /// Dropped: the page frame database calls it zeroed.
    Zeroed,
    /// Dropped: the page frame database calls it free.
    Free,
    /// Dropped: it is on a standby or modified list, and its content is that of a file.
    FileCache,
    /// Dropped: the page frame database calls it bad.
    Bad,
    /// Dropped: a driver locked it, as those of virtual machines do with their guests' memory, and no address leads to it.
    DriverLocked,
}

impl PageReason {
    /// Whether pages are kept for it.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        !matches!(
            self,
            Self::PageZero
                | Self::UserOnly
                | Self::Unmapped
                | Self::Zeroed
                | Self::Free
                | Self::FileCache
                | Self::Bad
                | Self::DriverLocked
        )
    }
}

/// How many pages are kept or dropped for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub reason: PageReason,
    /// The number of pages.
    pub pages: u64,
}

/// Pages per reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<PageReason, u64>);

impl Reasons {
    /// Counts pages.
    pub fn add(&mut self, reason: PageReason, pages: u64) {
        if pages > 0 {
            *self.0.entry(reason).or_default() += pages;
        }
    }

    /// How many pages a reason has.
    #[must_use]
    pub fn pages(&self, reason: PageReason) -> u64 {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    /// Those for which pages are kept, or those for which they are dropped.
    #[must_use]
    pub fn list(&self, is_kept: bool) -> Vec<ReasonCount> {
        let of = self.0.iter().filter(|(reason, _)| reason.is_kept() == is_kept);
        of.map(|(&reason, &pages)| ReasonCount { reason, pages }).collect()
    }

    /// How many pages are dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.list(false).iter().map(|count| count.pages).sum()
    }
}
