//! User memory of a process: its program, libraries, environment block, loader's lists, threads' blocks and stacks.

use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::paging::{FailureReason, Rights};

use crate::allocator::Zone;
use crate::build::Build;
use crate::error::BuildError;
use crate::image::{self, Image, Section};
use crate::loader::{PEB_32, PEB_64, Program};
use crate::places::{USER_32, UserPlaces};
use crate::ram::PAGE;
use crate::section::SharedImage;
use crate::thread::UserThread;
use crate::truth::{PageUse, Space, UserModule};
use crate::world::World;

/// Rights of a process's data.
pub(crate) const USER_DATA: Rights = Rights {
    write: true,
    user: true,
    execute: false,
};
/// Rights of a process's code.
pub(crate) const USER_CODE: Rights = Rights {
    write: false,
    user: true,
    execute: true,
};
/// Rights of what a process only reads.
pub(crate) const USER_READ_ONLY: Rights = Rights {
    write: false,
    user: true,
    execute: false,
};

/// The user half of a process while it is being built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserSpace {
    pub(crate) process: u64,
    pub(crate) root: u64,
    pub(crate) places: UserPlaces,
    /// Where the libraries of the machine's own width lie.
    libraries: u64,
    heap: u64,
    heap_mapped: u64,
}

/// What is in a process.
#[derive(Clone, Debug)]
pub(crate) struct UserContents {
    pub(crate) image: u64,
    pub(crate) start: u64,
    pub(crate) peb: u64,
    pub(crate) wow64_peb: Option<u64>,
    pub(crate) threads: Vec<UserThread>,
    pub(crate) modules: Vec<UserModule>,
    pub(crate) command_line: String,
}

impl UserSpace {
    pub(crate) const fn new(process: u64, root: u64, wow64: bool, world: &World) -> Self {
        let places = if wow64 { USER_32 } else { world.places.user };
        Self {
            process,
            root,
            places,
            libraries: world.places.user.libraries,
            heap: places.heap,
            heap_mapped: places.heap,
        }
    }

    pub(crate) const fn space(&self) -> Space {
        Space::Process(self.process)
    }

    /// Maps a new private page with these contents; its physical address.
    pub(crate) fn page(
        &self,
        world: &mut World,
        address: u64,
        rights: Rights,
        bytes: &[u8],
    ) -> Result<u64, BuildError> {
        let physical = world.allocator.allocate(Zone::User)?;
        let at = world.map(self.space(), self.root, address, physical, 1, rights)?;
        let usage = PageUse::Private { process: self.process };
        world.active(physical, address, 1, at, usage);
        world.ram.write(PhysAddr(physical), bytes)?;
        Ok(physical)
    }

    /// Zeroed memory of the heap.
    pub(crate) fn allocate(&mut self, world: &mut World, size: u64) -> Result<u64, BuildError> {
        let start = self.heap;
        self.heap = (start + size).next_multiple_of(16);
        while self.heap_mapped < self.heap {
            self.page(world, self.heap_mapped, USER_DATA, &[])?;
            self.heap_mapped += PAGE_SIZE;
        }
        Ok(start)
    }

    pub(crate) fn write(&self, world: &mut World, address: u64, bytes: &[u8]) -> Result<(), BuildError> {
        world.write_under(self.root, address, bytes)
    }

    pub(crate) fn number(&self, world: &mut World, address: u64, value: u64, size: usize) -> Result<(), BuildError> {
        self.write(world, address, &value.to_le_bytes()[..size])
    }
}

impl Build<'_> {
    /// Everything that a process has in its user half.
    pub(crate) fn user_memory(
        &mut self,
        user: &mut UserSpace,
        name: &str,
        wow64: bool,
    ) -> Result<UserContents, BuildError> {
        let places = user.places;
        let wide = !self.world.shape.is_32();
        let image = self.program(user, name, wow64)?;
        let start = places.image + 0x1000;
        let mut modules = vec![image.clone()];
        let shared = self.libraries.clone();
        modules.extend(self.map_libraries(user, &shared.native)?);
        let mut modules_32 = Vec::new();
        if wow64 {
            modules_32.push(UserModule { wow64: true, ..image });
            modules_32.extend(self.map_libraries(user, &shared.wow64)?);
        }
        let command_line = format!("\"C:\\Windows\\System32\\{name}\" -k net");
        let environment = Program {
            modules: &modules,
            image: places.image,
            path: &modules[0].path.clone(),
            command_line: &command_line,
            version: self.profile.version,
            build: self.profile.build,
            processors: self.options.processors,
        };
        user.page(&mut self.world, places.peb, USER_DATA, &[])?;
        environment.write(&mut self.world, user, places.peb, if wide { &PEB_64 } else { &PEB_32 })?;
        let wow64_peb = places.peb + PAGE_SIZE;
        if wow64 {
            let environment = Program {
                modules: &modules_32,
                ..environment
            };
            user.page(&mut self.world, wow64_peb, USER_DATA, &[])?;
            environment.write(&mut self.world, user, wow64_peb, &PEB_32)?;
        }
        let threads = (0..self.options.threads)
            .map(|index| self.user_thread(user, index, wow64.then_some(wow64_peb)))
            .collect::<Result<Vec<_>, _>>()?;
        let shared_data = self.shared_user_data;
        self.world.map(
            user.space(),
            user.root,
            places.shared_user_data,
            shared_data,
            1,
            USER_READ_ONLY,
        )?;
        self.page_states(user)?;
        modules.extend(modules_32);
        Ok(UserContents {
            image: places.image,
            start,
            peb: places.peb,
            wow64_peb: wow64.then_some(wow64_peb),
            threads,
            modules,
            command_line,
        })
    }

    /// The program's image: a header, then random, zero, text and pointer-filled pages in turn.
    fn program(&mut self, user: &UserSpace, name: &str, wow64: bool) -> Result<UserModule, BuildError> {
        let base = user.places.image;
        let pages = self.options.user_pages.max(3);
        let size = u32::try_from(pages * PAGE_SIZE).map_err(|_| BuildError::TooLarge("a program"))?;
        let sections = [
            Section {
                name: b".text",
                address: 0x1000,
                size: 0x1000,
                characteristics: image::TEXT,
            },
            Section {
                name: b".data",
                address: 0x2000,
                size: size - 0x2000,
                characteristics: image::DATA,
            },
        ];
        let mut signature = [0; 16];
        self.random.fill(&mut signature);
        let header = Image {
            machine: self.machine,
            is_32: wow64,
            name,
            base,
            size,
            entry_point: 0x1000,
            checksum: 0,
            time_date_stamp: 0x6200_0000 | u32::from(signature[0]),
            sections: &sections,
            directories: 0x2000,
            exports: &[],
            signature,
        };
        for index in 0..pages {
            let address = base + index * PAGE_SIZE;
            let (rights, bytes) = match index {
                0 => (USER_READ_ONLY, header.header()?),
                1 => (USER_CODE, vec![0x90; PAGE]),
                2 => (USER_DATA, header.directory_bytes()?),
                _ => (USER_DATA, self.page_contents(index, name, base, pages)),
            };
            user.page(&mut self.world, address, rights, &bytes)?;
        }
        let path = if wow64 {
            "C:\\Program Files (x86)\\Old"
        } else {
            "C:\\Windows\\System32"
        };
        Ok(UserModule {
            path: format!("{path}\\{name}"),
            range: VirtRange::sized(VirtAddr(base), u64::from(size)),
            entry_point: VirtAddr(base + 0x1000),
            time_date_stamp: header.time_date_stamp,
            wow64: false,
        })
    }

    fn page_contents(&mut self, index: u64, name: &str, base: u64, pages: u64) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        match index % 4 {
            0 => self.random.fill(&mut bytes),
            1 => {}
            2 => {
                let text = format!("{name} page {index} ");
                for (byte, letter) in bytes.iter_mut().zip(text.bytes().cycle()) {
                    *byte = letter;
                }
            }
            _ => {
                for word in bytes.chunks_mut(8) {
                    let pointer = base + self.random.below(pages * PAGE_SIZE);
                    word.copy_from_slice(&pointer.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Maps libraries that all processes share.
    fn map_libraries(&mut self, user: &UserSpace, libraries: &[SharedImage]) -> Result<Vec<UserModule>, BuildError> {
        let mut modules = Vec::new();
        for library in libraries {
            for (index, (physical, rights)) in (0..).zip(&library.pages) {
                let address = library.module.range.start.0 + index * PAGE_SIZE;
                self.world
                    .map(user.space(), user.root, address, *physical, 1, *rights)?;
            }
            modules.push(library.module.clone());
        }
        Ok(modules)
    }

    /// A thread's block and stack.
    fn user_thread(&mut self, user: &UserSpace, index: u64, wow64: Option<u64>) -> Result<UserThread, BuildError> {
        let places = user.places;
        let world = &mut self.world;
        let is_32 = world.shape.is_32();
        let teb = places.tebs + index * 0x4000;
        let limit = places.stacks + index * 0x2_0000 + 0x1_0000;
        let stack = VirtRange::sized(VirtAddr(limit), 2 * PAGE_SIZE);
        for page in 0..2 {
            user.page(world, limit + page * PAGE_SIZE, USER_DATA, &[])?;
        }
        world.note_unmapped(user.space(), limit - PAGE_SIZE, FailureReason::NotPresent);
        for page in 0..if wow64.is_some() { 3 } else { 2 } {
            user.page(world, teb + page * PAGE_SIZE, USER_DATA, &[])?;
        }
        let (end, sp) = (stack.end.0, stack.end.0 - 0x200);
        let mut fields = if is_32 {
            vec![(0x04, end), (0x08, limit), (0x18, teb), (0x30, places.peb)]
        } else {
            vec![(0x08, end), (0x10, limit), (0x30, teb), (0x60, places.peb)]
        };
        for (offset, value) in fields.drain(..) {
            user.number(world, teb + offset, value, if is_32 { 4 } else { 8 })?;
        }
        if let Some(peb) = wow64 {
            let teb_32 = teb + 0x2000;
            user.number(world, teb + 0x180C, 0x2000, 4)?; // WowTebOffset
            for (offset, value) in [(0x04, end), (0x08, limit), (0x18, teb_32), (0x30, peb)] {
                user.number(world, teb_32 + offset, value, 4)?;
            }
        }
        // A return address on the stack, so that it is not all zero.
        user.number(world, sp, places.image + 0x1040, if is_32 { 4 } else { 8 })?;
        Ok(UserThread {
            teb,
            stack,
            pc: user.libraries + 0x1014,
            sp,
        })
    }

    /// Stores a thread's id in its blocks.
    pub(crate) fn client_id(
        &mut self,
        user: &UserSpace,
        teb: u64,
        process: u64,
        thread: u64,
        wow64: bool,
    ) -> Result<(), BuildError> {
        let world = &mut self.world;
        let (at, size) = if world.shape.is_32() { (0x20, 4) } else { (0x40, 8) };
        user.number(world, teb + at, process, size)?;
        user.number(world, teb + at + size as u64, thread, size)?;
        if wow64 {
            user.number(world, teb + 0x2020, process, 4)?;
            user.number(world, teb + 0x2024, thread, 4)?;
        }
        Ok(())
    }
}
