//! Register sets: `CONTEXT` of each machine, with extended state behind it on x64.

use dotdump_format::kernel::Machine;

use crate::random::Random;

/// What a register set says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) user: bool,
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// Selectors of x64: CS, DS, ES, FS, GS, SS.
const fn selectors_64(user: bool) -> [u16; 6] {
    if user {
        [0x33, 0x2B, 0x2B, 0x53, 0x2B, 0x2B]
    } else {
        [0x10, 0x2B, 0x2B, 0x53, 0x2B, 0x18]
    }
}

/// The `CONTEXT` of a machine. General registers that are not given are random.
pub(crate) fn context(machine: Machine, registers: Registers, random: &mut Random) -> Vec<u8> {
    match machine {
        Machine::Amd64 => amd64(registers, random),
        Machine::X86 => x86(registers, random),
        Machine::Arm64 => arm64(registers, random),
    }
}

fn amd64(registers: Registers, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; Machine::Amd64.context_size()];
    put(&mut bytes, 0x30, &0x0010_001F_u32.to_le_bytes());
    put(&mut bytes, 0x34, &0x1F80_u32.to_le_bytes());
    for (index, selector) in selectors_64(registers.user).into_iter().enumerate() {
        put(&mut bytes, 0x38 + 2 * index, &selector.to_le_bytes());
    }
    put(&mut bytes, 0x44, &0x246_u32.to_le_bytes());
    put(&mut bytes, 0x70, &0x400_u64.to_le_bytes());
    random.fill(&mut bytes[0x78..0xF8]);
    put(&mut bytes, 0x98, &registers.sp.to_le_bytes());
    put(&mut bytes, 0xA0, &(registers.sp + 0x40).to_le_bytes());
    put(&mut bytes, 0xF8, &registers.pc.to_le_bytes());
    put(&mut bytes, 0x100, &0x27F_u16.to_le_bytes());
    put(&mut bytes, 0x118, &0x1F80_u32.to_le_bytes());
    put(&mut bytes, 0x11C, &0x2_FFFF_u32.to_le_bytes());
    random.fill(&mut bytes[0x1A0..0x2A0]);
    bytes
}

fn x86(registers: Registers, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; Machine::X86.context_size()];
    put(&mut bytes, 0x00, &0x1_003F_u32.to_le_bytes());
    put(&mut bytes, 0x1C, &0x27F_u32.to_le_bytes());
    let selectors: [u32; 6] = if registers.user {
        [0, 0x3B, 0x23, 0x23, 0x1B, 0x23]
    } else {
        [0, 0x30, 0x23, 0x23, 0x08, 0x10]
    };
    for (offset, selector) in [0x8C, 0x90, 0x94, 0x98, 0xBC, 0xC8].into_iter().zip(selectors) {
        put(&mut bytes, offset, &selector.to_le_bytes());
    }
    random.fill(&mut bytes[0x9C..0xB4]);
    put(&mut bytes, 0xB4, &(registers.sp + 0x40).to_le_bytes()[..4]);
    put(&mut bytes, 0xB8, &registers.pc.to_le_bytes()[..4]);
    put(&mut bytes, 0xC0, &0x246_u32.to_le_bytes());
    put(&mut bytes, 0xC4, &registers.sp.to_le_bytes()[..4]);
    put(&mut bytes, 0xCC + 0x18, &0x1F80_u32.to_le_bytes());
    bytes
}

fn arm64(registers: Registers, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; Machine::Arm64.context_size()];
    put(&mut bytes, 0x00, &0x0040_0007_u32.to_le_bytes());
    let cpsr: u32 = if registers.user { 0x6000_0000 } else { 0x6000_0004 };
    put(&mut bytes, 0x04, &cpsr.to_le_bytes());
    random.fill(&mut bytes[0x08..0xF0]);
    put(&mut bytes, 0xF0, &(registers.sp + 0x40).to_le_bytes());
    put(&mut bytes, 0xF8, &registers.pc.to_le_bytes());
    put(&mut bytes, 0x100, &registers.sp.to_le_bytes());
    put(&mut bytes, 0x108, &registers.pc.to_le_bytes());
    random.fill(&mut bytes[0x110..0x310]);
    bytes
}

/// Room for a `CONTEXT` of x64 with extended state, wherever it lies.
pub(crate) const EXTENDED_SIZE: usize = 0x4D0 + 0x50 + 0x140;

/// Puts `CONTEXT_EX` and an XSAVE area in the compacted format with the upper halves of the YMM registers behind a
/// `CONTEXT` that is going to lie at `address`. The area is aligned in memory, so that its distance is not constant.
pub(crate) fn extend(context: &mut Vec<u8>, address: u64, used: bool, random: &mut Random) {
    const LENGTH: usize = 0x4D0;
    const AREA: usize = 0x140;
    let after = address + LENGTH as u64;
    let gap = usize::try_from((after + 0x18).next_multiple_of(64) - after).unwrap_or(0x40);
    let all = LENGTH + gap + AREA;
    context.resize(all, 0);
    put(context, 0x30, &0x0010_005F_u32.to_le_bytes());
    let negative = (-(0x4D0_i32)).to_le_bytes();
    put(context, LENGTH, &negative);
    put(context, LENGTH + 4, &u32::try_from(all).unwrap_or(0).to_le_bytes());
    put(context, LENGTH + 8, &negative);
    put(context, LENGTH + 12, &0x4D0_u32.to_le_bytes());
    put(context, LENGTH + 16, &u32::try_from(gap).unwrap_or(0).to_le_bytes());
    put(context, LENGTH + 20, &0x140_u32.to_le_bytes());
    let area = LENGTH + gap;
    put(context, area, &(if used { 4_u64 } else { 0 }).to_le_bytes());
    put(context, area + 8, &0x8000_0000_0000_0004_u64.to_le_bytes());
    if used {
        random.fill(&mut context[area + 0x40..area + AREA]);
    }
}

/// The `KTRAP_FRAME` of a thread that came from user mode by a system call; `None` where its layout is not public.
pub(crate) fn trap_frame(machine: Machine, registers: Registers, random: &mut Random) -> Option<Vec<u8>> {
    match machine {
        Machine::Amd64 => {
            let mut frame = vec![0; 0x190];
            put(&mut frame, 0x28, &[2]); // ExceptionActive: a system call
            put(&mut frame, 0x2C, &0x1F80_u32.to_le_bytes());
            random.fill(&mut frame[0x30..0x68]);
            let [_, ds, es, fs, gs, _] = selectors_64(true);
            for (index, selector) in [ds, es, fs, gs].into_iter().enumerate() {
                put(&mut frame, 0x130 + 2 * index, &selector.to_le_bytes());
            }
            random.fill(&mut frame[0x140..0x158]);
            put(&mut frame, 0x158, &(registers.sp + 0x40).to_le_bytes());
            put(&mut frame, 0x168, &registers.pc.to_le_bytes());
            put(&mut frame, 0x170, &0x33_u16.to_le_bytes());
            put(&mut frame, 0x178, &0x246_u32.to_le_bytes());
            put(&mut frame, 0x180, &registers.sp.to_le_bytes());
            put(&mut frame, 0x188, &0x2B_u16.to_le_bytes());
            Some(frame)
        }
        Machine::X86 => {
            let mut frame = vec![0; 0x8C];
            for (offset, value) in [(0x34, 0x23_u32), (0x38, 0x23), (0x50, 0x3B), (0x6C, 0x1B), (0x78, 0x23)] {
                put(&mut frame, offset, &value.to_le_bytes());
            }
            random.fill(&mut frame[0x3C..0x48]);
            random.fill(&mut frame[0x54..0x60]);
            put(&mut frame, 0x60, &(registers.sp + 0x40).to_le_bytes()[..4]);
            put(&mut frame, 0x68, &registers.pc.to_le_bytes()[..4]);
            put(&mut frame, 0x70, &0x246_u32.to_le_bytes());
            put(&mut frame, 0x74, &registers.sp.to_le_bytes()[..4]);
            Some(frame)
        }
        Machine::Arm64 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_state_lies_as_on_real_machines() {
        // Places measured on real machines, and their lengths, less what their areas have that these do not.
        for (address, all, gap) in [
            (0xFFFF_F800_1234_5340_u64, 0x640_u32, 0x30_u32),
            (0xFFFF_F800_1234_53D0, 0x630, 0x20),
        ] {
            let mut bytes = vec![0; 0x4D0];
            extend(&mut bytes, address, true, &mut Random::new(1));
            assert_eq!(bytes[0x4D4..0x4D8], all.to_le_bytes());
            assert_eq!(bytes[0x4E0..0x4E4], gap.to_le_bytes());
            assert!(bytes.len() <= EXTENDED_SIZE);
        }
    }
}
