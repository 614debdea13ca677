//! Memory by prototype entries, and pages in every state that page-table entries and the PFN database know.

use dotdump_format::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::{FailureReason, PagingMode, Provenance, Rights};

use crate::allocator::Zone;
use crate::build::Build;
use crate::entry::SoftwareEntries;
use crate::error::BuildError;
use crate::image::{self, Image, Section};
use crate::kernel_memory::PoolKind;
use crate::places::USER_32;
use crate::ram::PAGE;
use crate::truth::{Frame, PageState, PageUse, Space, UserModule};
use crate::user::{USER_CODE, USER_DATA, USER_READ_ONLY, UserSpace};
use crate::world::DATA;

/// An image that all processes map.
#[derive(Clone, Debug)]
pub(crate) struct SharedImage {
    /// Physical address and rights of each page.
    pub(crate) pages: Vec<(u64, Rights)>,
    pub(crate) module: UserModule,
}

/// Images that all processes map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Libraries {
    pub(crate) native: Vec<SharedImage>,
    pub(crate) wow64: Vec<SharedImage>,
}

/// Prototype entries that processes refer to, one in each state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prototypes {
    /// Addresses of the entries that lead to a page, with the page's physical address.
    resolved: Vec<(u64, u64)>,
    /// ... and of those that lead nowhere, with the reason.
    unresolved: Vec<(u64, FailureReason)>,
}

/// The page file of the tests, and a page in it.
const PAGE_FILE: u8 = 2;
const PAGE_IN_FILE: u64 = 0x1234;

const IN_PAGE_FILE: FailureReason = FailureReason::PageFile {
    number: PAGE_FILE,
    page: PAGE_IN_FILE,
};

impl Build<'_> {
    fn page_file_entry(&mut self) -> u64 {
        let swizzled = self.random.below(2) == 0;
        self.world
            .software
            .page_file(u64::from(PAGE_FILE), PAGE_IN_FILE, swizzled)
    }

    fn transition_entry(&mut self, physical: u64) -> u64 {
        let swizzled = self.random.below(2) == 0;
        self.world.software.transition(physical, swizzled)
    }

    /// Room for a prototype entry; its address.
    fn prototype_room(&mut self) -> Result<u64, BuildError> {
        // A 32-bit entry cannot express every address of a prototype.
        let stride = if self.world.shape.mode == PagingMode::X86 {
            16
        } else {
            8
        };
        self.world.allocate_from(PoolKind::Paged, stride, stride)
    }

    fn prototype(&mut self, entry: u64) -> Result<u64, BuildError> {
        let at = self.prototype_room()?;
        let size = if self.world.shape.entry_size == 4 { 4 } else { 8 };
        self.world.write(at, &entry.to_le_bytes()[..size])?;
        Ok(at)
    }

    /// A reference to a subsection: what a prototype of a mapped file holds while the page is not in memory.
    fn subsection_entry(&self) -> u64 {
        self.world.software.prototype(self.subsection)
    }

    /// A new page of a section, in a state, with its prototype. Gives the page's and the prototype's address.
    fn shared_page(&mut self, bytes: &[u8], rights: Rights, state: PageState) -> Result<(u64, u64), BuildError> {
        let physical = self.world.allocator.allocate(Zone::User)?;
        self.world.ram.write(PhysAddr(physical), bytes)?;
        let entry = match state {
            PageState::Active => self.world.shape.leaf(physical, 1, rights),
            _ => self.transition_entry(physical),
        };
        let prototype = self.prototype(entry)?;
        let holder = self.world.physical(prototype)?;
        let frame = Frame {
            state,
            usage: PageUse::Shared,
            pte_address: VirtAddr(prototype),
            original_pte: self.subsection_entry(),
            prototype: true,
            reference_count: u16::from(state == PageState::Active),
            modified: matches!(state, PageState::Modified | PageState::ModifiedNoWrite),
            pte_frame: Pfn(holder / PAGE_SIZE),
        };
        self.world.frames.insert(Pfn(physical / PAGE_SIZE), frame);
        Ok((physical, prototype))
    }

    fn random_page(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        self.random.fill(&mut bytes);
        bytes
    }

    /// The libraries that processes are going to map.
    pub(crate) fn shared_libraries(&mut self) -> Result<Libraries, BuildError> {
        let base = self.world.places.user.libraries;
        let folder = "C:\\Windows\\System32\\";
        let native = vec![
            self.library(folder, "ntdll.dll", base, false)?,
            self.library(folder, "kernel32.dll", base + 0x10_0000, false)?,
        ];
        let mut wow64 = Vec::new();
        if self.profile.process.wow64_process.is_some() {
            let (base, folder) = (USER_32.libraries, "C:\\Windows\\SysWOW64\\");
            wow64.push(self.library(folder, "ntdll.dll", base, true)?);
            wow64.push(self.library(folder, "kernel32.dll", base + 0x10_0000, true)?);
        }
        Ok(Libraries { native, wow64 })
    }

    fn library(&mut self, folder: &str, name: &str, base: u64, wow64: bool) -> Result<SharedImage, BuildError> {
        let sections = [
            Section {
                name: b".text",
                address: 0x1000,
                size: 0x1000,
                characteristics: image::TEXT,
            },
            Section {
                name: b".rdata",
                address: 0x2000,
                size: 0x1000,
                characteristics: image::RDATA,
            },
        ];
        let mut signature = [0; 16];
        self.random.fill(&mut signature);
        let image = Image {
            machine: self.machine,
            is_32: wow64,
            name,
            base,
            size: 0x3000,
            entry_point: 0x1010,
            checksum: 0x1_0000 | u32::from(signature[1]),
            time_date_stamp: 0x6100_0000 | u32::from(signature[0]),
            sections: &sections,
            directories: 0x2000,
            exports: &[("NtWaitForSingleObject", 0x1000)],
            signature,
        };
        let contents = [
            (image.header()?, USER_READ_ONLY),
            (vec![0xC3; PAGE], USER_CODE),
            (image.directory_bytes()?, USER_READ_ONLY),
        ];
        let mut pages = Vec::new();
        for (bytes, rights) in contents {
            let (physical, _) = self.shared_page(&bytes, rights, PageState::Active)?;
            pages.push((physical, rights));
        }
        Ok(SharedImage {
            pages,
            module: UserModule {
                path: format!("{folder}{name}"),
                range: VirtRange::sized(VirtAddr(base), 0x3000),
                entry_point: VirtAddr(base + 0x1010),
                time_date_stamp: image.time_date_stamp,
                wow64,
            },
        })
    }

    /// The prototypes that [`Build::page_states`] refers to.
    pub(crate) fn make_prototypes(&mut self) -> Result<(), BuildError> {
        let mut made = Prototypes::default();
        for state in [PageState::Active, PageState::Standby, PageState::ModifiedNoWrite] {
            let bytes = self.random_page();
            let (physical, prototype) = self.shared_page(&bytes, USER_DATA, state)?;
            made.resolved.push((prototype, physical));
        }
        let page_file = self.page_file_entry();
        let subsection = self.subsection_entry();
        for (entry, reason) in [
            (subsection, FailureReason::FileBacked),
            (page_file, IN_PAGE_FILE),
            (SoftwareEntries::demand_zero(), FailureReason::DemandZero),
        ] {
            made.unresolved.push((self.prototype(entry)?, reason));
        }
        let nowhere = self.world.skip_page(PoolKind::Paged);
        made.unresolved.push((nowhere + 0x40, FailureReason::PrototypeAbsent));
        self.prototypes = made;
        Ok(())
    }

    /// A run of addresses of which every page has another state.
    pub(crate) fn page_states(&mut self, user: &UserSpace) -> Result<(), BuildError> {
        let space = user.space();
        let mut next = user.places.states;
        let mut page = || {
            next += PAGE_SIZE;
            next - PAGE_SIZE
        };
        for state in [PageState::Standby, PageState::Modified, PageState::Transition] {
            let address = page();
            self.transition_page(space, user.root, address, state, USER_DATA)?;
        }
        let prototypes = self.prototypes.clone();
        for (prototype, physical) in &prototypes.resolved {
            let address = page();
            let entry = self.world.software.prototype(*prototype);
            self.world.set_entry(space, user.root, address, entry)?;
            self.world
                .note(space, address, *physical, 1, Provenance::Prototype, USER_DATA);
        }
        let mut absent: Vec<(u64, FailureReason)> = prototypes
            .unresolved
            .iter()
            .map(|(prototype, reason)| (self.world.software.prototype(*prototype), *reason))
            .collect();
        if !self.world.shape.is_32() {
            absent.push((SoftwareEntries::prototype_by_vad(), FailureReason::FileBacked));
        }
        absent.push((self.page_file_entry(), IN_PAGE_FILE));
        absent.push((SoftwareEntries::demand_zero(), FailureReason::DemandZero));
        absent.push((0, FailureReason::NotPresent));
        for (entry, reason) in absent {
            let address = page();
            self.world.set_entry(space, user.root, address, entry)?;
            self.world.note_unmapped(space, address, reason);
        }
        if let Some((_, physical)) = prototypes.resolved.first() {
            self.world.map(space, user.root, page(), *physical, 1, USER_DATA)?;
        }
        Ok(())
    }

    /// A private page that left the working set.
    fn transition_page(
        &mut self,
        space: Space,
        root: u64,
        address: u64,
        state: PageState,
        rights: Rights,
    ) -> Result<(), BuildError> {
        let physical = self.world.allocator.allocate(Zone::User)?;
        let bytes = self.random_page();
        self.world.ram.write(PhysAddr(physical), &bytes)?;
        let entry = self.transition_entry(physical);
        let at = self.world.set_entry(space, root, address, entry)?;
        self.world
            .note(space, address, physical, 1, Provenance::Transition, rights);
        let usage = match space {
            Space::Process(process) => PageUse::Private { process },
            Space::Kernel | Space::Shadow => PageUse::Kernel,
        };
        let frame = Frame {
            state,
            usage,
            pte_address: VirtAddr(self.world.entry_address(address, 1)),
            original_pte: self.page_file_entry(),
            prototype: false,
            reference_count: u16::from(state == PageState::Transition),
            modified: state == PageState::Modified,
            pte_frame: Pfn(at / PAGE_SIZE),
        };
        self.world.frames.insert(Pfn(physical / PAGE_SIZE), frame);
        Ok(())
    }

    /// Pages of the kernel's half that are not valid.
    pub(crate) fn kernel_states(&mut self) -> Result<(), BuildError> {
        let root = self.world.root;
        for state in [PageState::Standby, PageState::Modified] {
            let address = self.world.skip_page(PoolKind::Paged);
            self.transition_page(Space::Kernel, root, address, state, DATA)?;
        }
        let address = self.world.skip_page(PoolKind::Paged);
        let entry = self.page_file_entry();
        self.world.set_entry(Space::Kernel, root, address, entry)?;
        self.world.note_unmapped(Space::Kernel, address, IN_PAGE_FILE);
        Ok(())
    }

    /// Pages that no address leads to: free ones with what they last held, broken ones, and files in the cache.
    pub(crate) fn loose_pages(&mut self) -> Result<(), BuildError> {
        for _ in 0..self.options.loose_pages {
            for state in [PageState::Free, PageState::Bad, PageState::Zeroed] {
                let physical = self.world.allocator.allocate(Zone::User)?;
                if state != PageState::Zeroed {
                    let bytes = self.random_page();
                    self.world.ram.write(PhysAddr(physical), &bytes)?;
                }
                let frame = Frame { state, ..Frame::ZEROED };
                self.world.frames.insert(Pfn(physical / PAGE_SIZE), frame);
            }
            for state in [
                PageState::Standby,
                PageState::Modified,
                PageState::ModifiedNoWrite,
                PageState::Transition,
            ] {
                let bytes = self.random_page();
                self.shared_page(&bytes, USER_READ_ONLY, state)?;
            }
        }
        Ok(())
    }
}
