//! The environment block of a process (`PEB`) and its loader's lists, of both widths.

use crate::error::BuildError;
use crate::kernel_memory::{counted, utf16};
use crate::truth::UserModule;
use crate::user::UserSpace;
use crate::world::World;

/// Offsets in `PEB`, `PEB_LDR_DATA`, `LDR_DATA_TABLE_ENTRY` and `RTL_USER_PROCESS_PARAMETERS` (public symbols).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PebFields {
    size: usize,
    image: u64,
    ldr: u64,
    parameters: u64,
    heap: u64,
    processors: u64,
    version: u64,
    ldr_size: u64,
    ldr_lists: u64,
    entry_size: u64,
    entry_base: u64,
    entry_full_name: u64,
    entry_base_name: u64,
    entry_flags: u64,
    entry_time: u64,
    parameters_size: u64,
    image_path: u64,
    command_line: u64,
}

pub(crate) const PEB_64: PebFields = PebFields {
    size: 8,
    image: 0x10,
    ldr: 0x18,
    parameters: 0x20,
    heap: 0x30,
    processors: 0xB8,
    version: 0x118,
    ldr_size: 0x58,
    ldr_lists: 0x10,
    entry_size: 0x120,
    entry_base: 0x30,
    entry_full_name: 0x48,
    entry_base_name: 0x58,
    entry_flags: 0x68,
    entry_time: 0x80,
    parameters_size: 0x400,
    image_path: 0x60,
    command_line: 0x70,
};

pub(crate) const PEB_32: PebFields = PebFields {
    size: 4,
    image: 0x08,
    ldr: 0x0C,
    parameters: 0x10,
    heap: 0x18,
    processors: 0x64,
    version: 0xA4,
    ldr_size: 0x30,
    ldr_lists: 0x0C,
    entry_size: 0xA8,
    entry_base: 0x18,
    entry_full_name: 0x24,
    entry_base_name: 0x2C,
    entry_flags: 0x34,
    entry_time: 0x44,
    parameters_size: 0x2A0,
    image_path: 0x38,
    command_line: 0x40,
};

/// What an environment block says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) modules: &'a [UserModule],
    pub(crate) image: u64,
    pub(crate) path: &'a str,
    pub(crate) command_line: &'a str,
    pub(crate) version: (u32, u32),
    pub(crate) build: u32,
    pub(crate) processors: u32,
}

impl Program<'_> {
    /// Writes it to `peb`, which is mapped; what it points to goes onto the heap.
    pub(crate) fn write(
        &self,
        world: &mut World,
        user: &mut UserSpace,
        peb: u64,
        fields: &PebFields,
    ) -> Result<(), BuildError> {
        let size = fields.size;
        let parameters = user.allocate(world, fields.parameters_size)?;
        user.number(world, parameters, fields.parameters_size, 4)?;
        user.number(world, parameters + 4, fields.parameters_size, 4)?;
        user.number(world, parameters + 8, 1, 4)?; // normalised: pointers are addresses
        self.string(world, user, parameters + fields.image_path, self.path, fields)?;
        self.string(world, user, parameters + fields.command_line, self.command_line, fields)?;
        let ldr = self.loader(world, user, fields)?;
        for (offset, value) in [
            (fields.image, self.image),
            (fields.ldr, ldr),
            (fields.parameters, parameters),
            (fields.heap, user.places.heap),
        ] {
            user.number(world, peb + offset, value, size)?;
        }
        user.number(world, peb + fields.processors, u64::from(self.processors), 4)?;
        user.number(world, peb + fields.version, u64::from(self.version.0), 4)?;
        user.number(world, peb + fields.version + 4, u64::from(self.version.1), 4)?;
        user.number(world, peb + fields.version + 8, u64::from(self.build), 2)
    }

    /// Puts a text onto the heap and its `UNICODE_STRING` at `at`.
    fn string(
        &self,
        world: &mut World,
        user: &mut UserSpace,
        at: u64,
        text: &str,
        fields: &PebFields,
    ) -> Result<(), BuildError> {
        let bytes = utf16(text);
        let buffer = user.allocate(world, bytes.len() as u64)?;
        user.write(world, buffer, &bytes)?;
        user.write(world, at, &counted(text, buffer, fields.size == 4)?)
    }

    /// `PEB_LDR_DATA` with the modules in all three lists.
    fn loader(&self, world: &mut World, user: &mut UserSpace, fields: &PebFields) -> Result<u64, BuildError> {
        let size = fields.size as u64;
        let ldr = user.allocate(world, fields.ldr_size)?;
        user.number(world, ldr, fields.ldr_size, 4)?;
        user.number(world, ldr + 4, 1, 1)?; // Initialized
        let mut entries = Vec::new();
        for module in self.modules {
            let entry = user.allocate(world, fields.entry_size)?;
            let name = module.path.rsplit('\\').next().unwrap_or_default();
            user.number(world, entry + fields.entry_base, module.range.start.0, fields.size)?;
            user.number(
                world,
                entry + fields.entry_base + size,
                module.entry_point.0,
                fields.size,
            )?;
            user.number(world, entry + fields.entry_base + 2 * size, module.range.size(), 4)?;
            self.string(world, user, entry + fields.entry_full_name, &module.path, fields)?;
            self.string(world, user, entry + fields.entry_base_name, name, fields)?;
            user.number(world, entry + fields.entry_flags, 0x8_22CC, 4)?;
            user.number(world, entry + fields.entry_time, u64::from(module.time_date_stamp), 4)?;
            entries.push(entry);
        }
        for list in 0..3 {
            let offset = list * 2 * size;
            let mut ring = vec![ldr + fields.ldr_lists + offset];
            // The program itself is not initialised by the loader.
            let skipped = usize::from(list == 2);
            ring.extend(entries.iter().skip(skipped).map(|entry| entry + offset));
            for (index, node) in ring.iter().enumerate() {
                let next = ring[(index + 1) % ring.len()];
                let previous = ring[(index + ring.len() - 1) % ring.len()];
                user.number(world, *node, next, fields.size)?;
                user.number(world, *node + size, previous, fields.size)?;
            }
        }
        Ok(ldr)
    }
}
