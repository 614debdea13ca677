//! Loaded modules, unloaded drivers and pages of pool that compress well.

use dotdump_format::{PAGE_SIZE, PhysAddr, VirtAddr, VirtRange};
use dotdump_snapshot::machine::{KernelModule, UnloadedDriver};

use crate::allocator::Zone;
use crate::build::Build;
use crate::error::BuildError;
use crate::image::{self, Image, Section};
use crate::ram::PAGE;
use crate::world::{CODE, DATA, READ_ONLY};

const DRIVERS: [&str; 5] = ["hal.dll", "kdcom.dll", "CLFS.SYS", "tm.sys", "fakedrv.sys"];

const DRIVER_SECTIONS: [Section; 3] = [
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
    Section {
        name: b".data",
        address: 0x3000,
        size: 0x1000,
        characteristics: image::DATA,
    },
];

/// Offsets in `KLDR_DATA_TABLE_ENTRY`.
struct EntryFields {
    size: u64,
    base: u64,
    full_name: u64,
    base_name: u64,
    flags: u64,
    checksum: u64,
    time: u64,
}

const ENTRY_64: EntryFields = EntryFields {
    size: 0xA0,
    base: 0x30,
    full_name: 0x48,
    base_name: 0x58,
    flags: 0x68,
    checksum: 0x78,
    time: 0x9C,
};

const ENTRY_32: EntryFields = EntryFields {
    size: 0x5C,
    base: 0x18,
    full_name: 0x24,
    base_name: 0x2C,
    flags: 0x34,
    checksum: 0x40,
    time: 0x58,
};

impl Build<'_> {
    /// The kernel and its drivers, linked.
    pub(crate) fn modules(&mut self) -> Result<Vec<KernelModule>, BuildError> {
        let kernel = KernelModule {
            entry: None,
            base: VirtAddr(self.kernel.base),
            size: self.kernel.size,
            entry_point: VirtAddr(self.kernel.entry_point),
            checksum: Some(self.kernel.checksum),
            time_date_stamp: Some(self.kernel.time_date_stamp),
            full_name: wide("\\SystemRoot\\system32\\ntoskrnl.exe"),
            base_name: wide("ntoskrnl.exe"),
        };
        let mut modules = vec![kernel];
        for (index, name) in (0..).zip(DRIVERS) {
            let base = self.world.places.drivers + index * 0x10_0000;
            modules.push(self.driver(name, base)?);
        }
        let mut entries = Vec::new();
        for module in &mut modules {
            let entry = self.module_entry(module)?;
            module.entry = Some(VirtAddr(entry));
            entries.push(entry);
        }
        self.world.link(self.kernel.symbol("PsLoadedModuleList"), &entries)?;
        Ok(modules)
    }

    fn driver(&mut self, name: &str, base: u64) -> Result<KernelModule, BuildError> {
        let mut signature = [0; 16];
        self.random.fill(&mut signature);
        let image = Image {
            machine: self.machine,
            is_32: false,
            name,
            base,
            size: 0x4000,
            entry_point: 0x1000,
            checksum: 0xD000 | u32::from(signature[0]),
            time_date_stamp: 0x6000_0000 | u32::from(signature[1]),
            sections: &DRIVER_SECTIONS,
            directories: 0x2000,
            exports: &[],
            signature,
        };
        for (page, rights) in (0..).zip([READ_ONLY, CODE, READ_ONLY, DATA]) {
            self.world.map_new(base + page * PAGE_SIZE, 1, rights)?;
        }
        self.world.write(base, &image.header()?)?;
        self.world.write(base + 0x1000, &[0xCC; PAGE])?;
        self.world.write(base + 0x2000, &image.directory_bytes()?)?;
        let folder = if name.to_ascii_lowercase().ends_with(".sys") {
            "drivers\\"
        } else {
            ""
        };
        Ok(KernelModule {
            entry: None,
            base: VirtAddr(base),
            size: image.size,
            entry_point: VirtAddr(base + 0x1000),
            checksum: Some(image.checksum),
            time_date_stamp: Some(image.time_date_stamp),
            full_name: wide(&format!("\\SystemRoot\\system32\\{folder}{name}")),
            base_name: wide(name),
        })
    }

    fn module_entry(&mut self, module: &KernelModule) -> Result<u64, BuildError> {
        let fields = if self.world.shape.is_32() { ENTRY_32 } else { ENTRY_64 };
        let world = &mut self.world;
        let entry = world.allocate(fields.size)?;
        let pointer = world.pointer_size();
        let text = |name: &Option<Vec<u16>>| String::from_utf16_lossy(name.as_deref().unwrap_or_default());
        let full_name = world.unicode_string(&text(&module.full_name))?;
        let base_name = world.unicode_string(&text(&module.base_name))?;
        world.pointer(entry + fields.base, module.base.0)?;
        world.pointer(entry + fields.base + pointer, module.entry_point.0)?;
        world.u32(entry + fields.base + 2 * pointer, module.size)?;
        world.write(entry + fields.full_name, &full_name)?;
        world.write(entry + fields.base_name, &base_name)?;
        world.u32(entry + fields.flags, 0x0910_4000)?;
        world.u16(entry + fields.flags + 4, 1)?; // LoadCount
        world.u32(entry + fields.checksum, module.checksum.unwrap_or(0))?;
        world.u32(entry + fields.time, module.time_date_stamp.unwrap_or(0))?;
        Ok(entry)
    }

    /// The ring of drivers that were unloaded. It has come round once where there are more than its 50 places.
    pub(crate) fn unloaded_drivers(&mut self) -> Result<Vec<UnloadedDriver>, BuildError> {
        const PLACES: u64 = 50;
        let count = self.options.unloaded_drivers;
        let pointer = self.world.pointer_size();
        let size = 4 * pointer + 8;
        let table = self.world.allocate(PLACES * size)?;
        let mut drivers = Vec::new();
        for index in 0..count {
            let name = format!("dump_gone{index}.sys");
            let start = self.world.places.unloaded + index * 0x1_0000;
            let time = self.time + index;
            let at = table + index % PLACES * size;
            let text = self.world.unicode_string(&name)?;
            self.world.write(at, &text)?;
            self.world.pointer(at + 2 * pointer, start)?;
            self.world.pointer(at + 3 * pointer, start + 0x8000)?;
            self.world.u64(at + 4 * pointer, time)?;
            drivers.push(UnloadedDriver {
                name: name.encode_utf16().collect(),
                range: VirtRange::sized(VirtAddr(start), 0x8000),
                time: Some(time),
            });
        }
        self.world.pointer(self.kernel.symbol("MmUnloadedDrivers"), table)?;
        let next = u32::try_from(count % PLACES).unwrap_or(0);
        self.world.u32(self.kernel.symbol("MmLastUnloadedDriver"), next)?;
        drivers.reverse();
        drivers.truncate(usize::try_from(PLACES).unwrap_or(50));
        Ok(drivers)
    }

    /// Pages that are not zero and compress well: every fourth is a copy of the one before it.
    pub(crate) fn filler(&mut self) -> Result<(), BuildError> {
        let places = self.world.places;
        if self.options.pool_pages > places.filler_size / PAGE_SIZE {
            return Err(BuildError::TooLarge("the pool of pages that compress well"));
        }
        for index in 0..self.options.pool_pages {
            let physical = self.world.allocator.allocate(Zone::Kernel)?;
            self.world
                .map_kernel(places.filler + index * PAGE_SIZE, physical, 1, DATA)?;
            let number = if index % 4 == 3 { index - 1 } else { index };
            let text = format!("pool page {number} ");
            let bytes: Vec<u8> = text.bytes().cycle().take(PAGE).collect();
            self.world.ram.write(PhysAddr(physical), &bytes)?;
        }
        Ok(())
    }

    /// A page of 1 GiB with a few words in it.
    pub(crate) fn gigabyte(&mut self) -> Result<(), BuildError> {
        if !self.options.gigabyte_page {
            return Ok(());
        }
        let address = self.world.places.gigabyte;
        if address == 0 {
            return Err(BuildError::Options("32-bit machines have no pages of 1 GiB"));
        }
        let size = self.world.shape.page_size(3);
        let physical = self
            .world
            .allocator
            .contiguous(size / PAGE_SIZE, size)
            .ok_or(BuildError::MemoryFull)?;
        self.world.map_kernel(address, physical, 3, DATA)?;
        for offset in [0, 0x1234_5678, size - 0x1000] {
            self.world.u64(address + offset, address + offset)?;
        }
        Ok(())
    }
}

fn wide(text: &str) -> Option<Vec<u16>> {
    Some(text.encode_utf16().collect())
}
