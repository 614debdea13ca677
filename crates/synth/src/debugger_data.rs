//! `KDDEBUGGER_DATA64`: what the kernel tells debuggers of itself, plain or encoded.

use dotdump_format::VirtAddr;
use dotdump_snapshot::paging::SoftwarePtes;

use crate::build::Build;
use crate::error::BuildError;
use crate::truth::DebuggerDataTruth;

/// Encodes words as the kernel does: the inverse of what a debugger does with each,
/// `bswap(rotate_left(word ^ never, never) ^ flag) ^ always`.
pub(crate) fn encode(plain: &[u8], never: u64, always: u64, flag: u64) -> Vec<u8> {
    let count = never.to_le_bytes()[0] & 63;
    plain
        .chunks_exact(8)
        .flat_map(|chunk| {
            let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
            let mixed = (word ^ always).swap_bytes() ^ flag;
            (mixed.rotate_right(u32::from(count)) ^ never).to_le_bytes()
        })
        .collect()
}

impl Build<'_> {
    /// Writes the block, the list that it is on, the version block, and the code that decodes it.
    pub(crate) fn debugger_data(&mut self) -> Result<DebuggerDataTruth, BuildError> {
        let address = self.kernel.symbol("KdDebuggerDataBlock");
        let head = self.kernel.symbol("KdpDebuggerDataListHead");
        let plain = self.plain_block(head);
        let words = u32::try_from(plain.len() / 8).unwrap_or(0);
        if crate::kernel_image::Kernel::can_encode(self.world.shape.mode) && self.profile.build >= 9200 {
            let kernel = self.kernel.clone();
            kernel.write_decoder(&mut self.world, words)?;
        }
        self.world.link(head, &[])?;
        self.world.pointer(head, address)?;
        self.world.pointer(head + self.world.pointer_size(), address)?;
        self.version_block(head)?;
        let mut stored = plain.clone();
        let mut keys = None;
        if self.options.encode_debugger_data {
            let (never, always) = (self.random.bits(), self.random.bits());
            let flag = self.kernel.symbol("KdpDataBlockEncoded");
            self.world.u64(self.kernel.symbol("KiWaitNever"), never)?;
            self.world.u64(self.kernel.symbol("KiWaitAlways"), always)?;
            self.world.u8(flag, 1)?;
            stored = encode(&plain, never, always, flag);
            keys = Some((never, always, flag));
        }
        self.world.write(address, &stored)?;
        Ok(DebuggerDataTruth {
            address: VirtAddr(address),
            plain,
            stored,
            keys,
        })
    }

    /// The block as debuggers read it.
    fn plain_block(&self, head: u64) -> Vec<u8> {
        let mut block = vec![0_u8; self.profile.debugger_data_size];
        let mut put = |offset: usize, value: u64, size: usize| {
            // Older blocks end before the newer fields.
            if let Some(room) = block.get_mut(offset..offset + size) {
                room.copy_from_slice(&value.to_le_bytes()[..size]);
            }
        };
        let size = self.profile.debugger_data_size as u64;
        let pointer = if self.world.shape.is_32() { 4 } else { 8 };
        put(0x00, head, pointer);
        put(pointer, head, pointer);
        put(0x10, u64::from(u32::from_le_bytes(*b"KDBG")), 4);
        put(0x14, size, 4);
        put(0x18, self.kernel.base, 8);
        for (offset, name) in VARIABLES {
            put(offset, self.kernel.symbol(name), 8);
        }
        put(0x138, 0x1000, 8); // MmPageSize
        put(0x360, if pointer == 8 { self.world.places.self_map } else { 0 }, 8); // PteBase
        let pae = matches!(self.world.shape.mode, dotdump_snapshot::paging::PagingMode::Pae);
        put(0x36, u64::from(pae), 2);
        for (offset, value) in self.offsets() {
            put(offset, value, 2);
        }
        if let SoftwarePtes::Late { high_bit, swizzle_bit } = self.world.software.kind {
            put(0x2C2, u64::from(high_bit), 1);
            put(0x2C3, u64::from(swizzle_bit), 1);
        }
        let thread = self.profile.thread;
        put(0x340, thread.stack_limit, 4);
        put(0x344, thread.stack_base, 4);
        put(0x34C, thread.irp_list, 4);
        block
    }

    /// Fields of 16 bits: where they are, and what they say.
    fn offsets(&self) -> Vec<(usize, u64)> {
        let (process, thread, processor) = (self.profile.process, self.profile.thread, self.profile.processor);
        vec![
            (0x298, thread.next_processor),
            (0x29A, thread.teb),
            (0x29C, thread.kernel_stack),
            (0x29E, thread.initial_stack),
            (0x2A0, thread.apc_process),
            (0x2A2, thread.state),
            (0x2A8, process.size),
            (0x2AA, process.peb),
            (0x2AC, process.parent),
            (0x2AE, process.directory_table_base),
            (0x2B0, processor.prcb_size),
            (0x2B2, processor.dpc_routine),
            (0x2B4, processor.current_thread),
            (0x2B6, processor.mhz),
            (0x2B8, processor.cpu_type),
            (0x2BA, processor.vendor),
            (0x2BC, processor.context_frame),
            (0x2BE, processor.number),
            (0x2C0, thread.size),
            (0x2E0, processor.pcr_size),
            (0x2E2, processor.pcr_self),
            (0x2E4, processor.pcr_current_prcb),
            (0x2E6, processor.pcr_prcb),
            (0x2F2, processor.special_registers),
            (0x338, processor.context),
            (0x350, processor.idle_thread),
            (0x354, processor.dpc_stack),
            (0x356, processor.isr_stack),
            (0x35C, thread.wait_reason),
        ]
    }

    /// `DBGKD_GET_VERSION64`.
    fn version_block(&mut self, head: u64) -> Result<(), BuildError> {
        let at = self.kernel.symbol("KdVersionBlock");
        let build = u16::try_from(self.profile.build).map_err(|_| BuildError::TooLarge("the build number"))?;
        let machine = self.machine.machine_type().0;
        let flags: u16 = if self.world.shape.is_32() { 3 } else { 7 };
        let world = &mut self.world;
        world.u16(at, 0xF)?;
        world.u16(at + 2, build)?;
        world.write(at + 4, &[6, 2])?; // ProtocolVersion, KdSecondaryVersion
        world.u16(at + 6, flags)?;
        world.u16(at + 8, machine)?;
        world.u64(at + 0x10, self.kernel.base)?;
        world.u64(at + 0x18, self.kernel.symbol("PsLoadedModuleList"))?;
        world.u64(at + 0x20, head)
    }
}

/// Fields that hold the address of a variable.
const VARIABLES: [(usize, &str); 18] = [
    (0x048, "PsLoadedModuleList"),
    (0x050, "PsActiveProcessHead"),
    (0x058, "PspCidTable"),
    (0x088, "KiBugCheckData"),
    (0x0C0, "MmPfnDatabase"),
    (0x0E8, "MmLowestPhysicalPage"),
    (0x0F0, "MmHighestPhysicalPage"),
    (0x0F8, "MmNumberOfPhysicalPages"),
    (0x1C8, "MmHighestUserAddress"),
    (0x1D0, "MmSystemRangeStart"),
    (0x1D8, "MmUserProbeAddress"),
    (0x208, "NtBuildLab"),
    (0x218, "KiProcessorBlock"),
    (0x220, "MmUnloadedDrivers"),
    (0x228, "MmLastUnloadedDriver"),
    (0x270, "MmPhysicalMemoryBlock"),
    (0x308, "IopNumTriageDumpDataBlocks"),
    (0x310, "IopTriageDumpDataBlocks"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_what_debuggers_decode() {
        let (never, always, flag) = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210, 0xFFFF_F805_1234_5678);
        let encode = |word: u64, never| encode(&word.to_le_bytes(), never, always, flag);
        assert_eq!(
            encode(0x0000_0380_4742_444B, never),
            0xDD4B_507C_9CA6_84FC_u64.to_le_bytes()
        );
        assert_eq!(
            encode(0xFFFF_F804_7BA0_0000, never),
            0x1932_598B_6358_1275_u64.to_le_bytes()
        );
        // The lowest byte of the key counts modulo 64: no rotation at all.
        let never = 0x1122_3344_5566_7740;
        assert_eq!(
            encode(0x0000_0380_4742_444B, never),
            0xB5AB_DD70_5FEB_FDC6_u64.to_le_bytes()
        );
    }
}
