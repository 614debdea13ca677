//! The walk for one address.

use dotdump_format::{Error, PhysAddr, VirtAddr};

use super::mode::{Entry, Place};
use super::software::SoftwareEntry;
use super::{AddressSpace, FailureReason, PagingMode, Provenance, Rights, TranslateFailure, Translation};

/// A page that an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) address: PhysAddr,
    pub(super) provenance: Provenance,
    pub(super) rights: Rights,
}

/// What a bare entry leads to within a level-1 table.
enum Software {
    Known(Result<Leaf, FailureReason>),
    /// Prototypes lie in the kernel's memory.
    Prototype(VirtAddr, Option<VirtAddr>),
}

impl AddressSpace<'_> {
    /// Where `address` lies in physical memory, or why it lies nowhere. The page need not be in the source.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn translate(&self, address: VirtAddr) -> Result<Result<Translation, TranslateFailure>, Error> {
        self.walk_to(address, true)
    }

    fn walk_to(
        &self,
        address: VirtAddr,
        with_prototypes: bool,
    ) -> Result<Result<Translation, TranslateFailure>, Error> {
        let mut failure = TranslateFailure {
            address,
            level: 0,
            entry_at: None,
            entry: None,
            reason: FailureReason::NotCanonical,
        };
        let Some(linear) = self.mode.linear(address) else {
            return Ok(Err(failure));
        };
        let mut table = self.root;
        let mut rights = Rights::ALL;
        let mut place = self.place(linear, self.mode.levels());
        loop {
            let index = self.mode.index(linear, place.level);
            let at = PhysAddr(table.0 + u64::from(index) * self.mode.entry_size());
            failure.level = place.level;
            failure.entry_at = Some(at);
            failure.entry = self.entry_at(at, place.level)?;
            let Some(entry) = failure.entry else {
                failure.reason = FailureReason::TableAbsent;
                return Ok(Err(failure));
            };
            let page_size = 1 << self.mode.shift(place.level);
            let found = match self.mode.decode(entry, place) {
                Entry::Table { address, rights: own } => {
                    table = address;
                    rights = rights.and(own);
                    place.level -= 1;
                    continue;
                }
                Entry::Page { address, rights: own } => Ok(Leaf {
                    address,
                    provenance: Provenance::Valid,
                    rights: rights.and(own),
                }),
                Entry::Reserved => Err(FailureReason::Reserved),
                Entry::Invalid if place.level > 1 => Err(FailureReason::NotPresent),
                Entry::Invalid => self.software_leaf(entry, rights, with_prototypes)?,
            };
            return Ok(match found {
                Ok(leaf) => Ok(Translation {
                    address: PhysAddr(leaf.address.0 | linear & (page_size - 1)),
                    page_size,
                    provenance: leaf.provenance,
                    rights: leaf.rights,
                }),
                Err(reason) => {
                    failure.reason = reason;
                    Err(failure)
                }
            });
        }
    }

    pub(super) const fn place(&self, linear: u64, level: u8) -> Place {
        Place {
            level,
            kernel: linear >= self.mode.half(),
            windows: !matches!(self.software, super::SoftwarePtes::None),
        }
    }

    /// The entry at a physical address in a table of `level`; `None` where the source lacks it.
    fn entry_at(&self, at: PhysAddr, level: u8) -> Result<Option<u64>, Error> {
        let mut cache = self.cache.borrow_mut();
        let table = cache.table(self.physical, self.mode, at.pfn(), level)?;
        let index = usize::try_from(at.offset_in_page() / self.mode.entry_size()).unwrap_or(usize::MAX);
        Ok(table.and_then(|entries| entries.get(index)).copied())
    }

    /// The page of an invalid entry in a table of pages, below tables with the rights `rights`.
    pub(super) fn software_leaf(
        &self,
        entry: u64,
        rights: Rights,
        with_prototypes: bool,
    ) -> Result<Result<Leaf, FailureReason>, Error> {
        let (address, inverted) = match self.software_entry(entry, rights) {
            Software::Known(known) => return Ok(known),
            Software::Prototype(address, inverted) => (address, inverted),
        };
        if !with_prototypes {
            return Ok(Err(FailureReason::PrototypeAbsent));
        }
        for address in [Some(address), inverted].into_iter().flatten() {
            if let Some(prototype) = self.prototype(address)? {
                return Ok(self.prototype_leaf(prototype, rights));
            }
        }
        Ok(Err(FailureReason::PrototypeAbsent))
    }

    fn software_entry(&self, entry: u64, above: Rights) -> Software {
        Software::Known(match self.software.decode(self.mode, entry) {
            SoftwareEntry::Prototype { address, inverted } => return Software::Prototype(address, inverted),
            SoftwareEntry::Unused => Err(FailureReason::NotPresent),
            SoftwareEntry::Vad => Err(FailureReason::FileBacked),
            SoftwareEntry::DemandZero => Err(FailureReason::DemandZero),
            SoftwareEntry::PageFile { number, page } => Err(FailureReason::PageFile { number, page }),
            SoftwareEntry::Transition { address, rights } => Ok(Leaf {
                address,
                provenance: Provenance::Transition,
                rights: above.and(rights),
            }),
        })
    }

    /// The prototype entry at a kernel address; `None` where the kernel has nothing there, or what is there is itself
    /// found through a prototype, which Windows' never are.
    fn prototype(&self, address: VirtAddr) -> Result<Option<u64>, Error> {
        let kernel = self.kernel.unwrap_or(self);
        if !address.0.is_multiple_of(self.mode.entry_size()) || !self.mode.is_kernel_address(address) {
            return Ok(None);
        }
        match kernel.walk_to(address, false)? {
            Ok(found) => kernel.entry_at(found.address, 1),
            Err(_) => Ok(None),
        }
    }

    /// The page of a prototype.
    fn prototype_leaf(&self, entry: u64, above: Rights) -> Result<Leaf, FailureReason> {
        if self.software.is_subsection(self.mode, entry) {
            return Err(FailureReason::FileBacked);
        }
        let place = Place {
            level: 1,
            kernel: !above.user,
            windows: true,
        };
        // A prototype is nobody's own: who has access is told by the tables that lead to it.
        let shared = |rights: Rights| above.and(Rights { user: true, ..rights });
        match self.mode.decode(entry, place) {
            Entry::Page { address, rights } => Ok(Leaf {
                address,
                provenance: Provenance::Prototype,
                rights: shared(rights),
            }),
            Entry::Invalid => match self.software_entry(entry, above) {
                Software::Known(Ok(leaf)) => Ok(Leaf {
                    provenance: Provenance::Prototype,
                    ..leaf
                }),
                Software::Known(Err(FailureReason::NotPresent)) | Software::Prototype(..) => {
                    Err(FailureReason::PrototypeAbsent)
                }
                Software::Known(Err(reason)) => Err(reason),
            },
            Entry::Table { .. } | Entry::Reserved => Err(FailureReason::PrototypeAbsent),
        }
    }

    /// Where the page-table entries start that the tables map themselves as: the base from which the address of any
    /// entry is computed. `None` where no entry of the root points to the root.
    ///
    /// # Errors
    /// [`Error::Read`] where the medium fails.
    pub fn pte_base(&self) -> Result<Option<VirtAddr>, Error> {
        // In the tables of PAE the four page directories stand for the root, always at the same place.
        if self.mode == PagingMode::Pae {
            let base = VirtAddr(0xC000_0000);
            let directory = |number: u64| self.entry_at(PhysAddr(self.root.0 + number * 8), 3);
            let (Some(first), Some(last)) = (directory(0)?, directory(3)?) else {
                return Ok(None);
            };
            let place = self.place(base.0, 3);
            return Ok(match (self.mode.decode(first, place), self.mode.decode(last, place)) {
                (Entry::Table { address: first, .. }, Entry::Table { address: last, .. }) => {
                    let entry = self.entry_at(last, 2)?.unwrap_or(0);
                    let target = self.mode.decode(entry, self.place(base.0, 2));
                    matches!(target, Entry::Table { address, .. } if address == first).then_some(base)
                }
                _ => None,
            });
        }
        let top = self.mode.levels();
        for index in 0..u64::from(self.mode.entries(top)) {
            let linear = index << self.mode.shift(top);
            let at = PhysAddr(self.root.0 + index * self.mode.entry_size());
            let Some(entry) = self.entry_at(at, top)? else {
                return Ok(None);
            };
            if let Entry::Table { address, .. } = self.mode.decode(entry, self.place(linear, top))
                && address == self.root
            {
                return Ok(Some(self.mode.address(linear)));
            }
        }
        Ok(None)
    }
}
