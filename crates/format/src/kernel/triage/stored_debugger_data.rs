//! `KDDEBUGGER_DATA64` as a debugger rewrites it in the triage dumps that it makes.

use alloc::vec::Vec;
use core::mem::{offset_of, size_of};

use super::super::debugger_data::{FIELDS, KdDebuggerData64};
use super::super::machine::Machine;
use super::sign_extended::{extend, low_half};

/// Selectors of user mode.
const USER_SELECTORS: [usize; 4] = [
    offset_of!(KdDebuggerData64, gdt_r3_code),
    offset_of!(KdDebuggerData64, gdt_r3_data),
    offset_of!(KdDebuggerData64, gdt64_r3_cm_code),
    offset_of!(KdDebuggerData64, gdt64_r3_cm_teb),
];

/// A `KDDEBUGGER_DATA64` as a debugger stores it in the dumps that it makes, from one as it lies in memory: on x86 addresses
/// are sign-extended and the list entry is widened, on x64 the selectors of user mode get their privilege level. One
/// that was rewritten before stays as it is. Measured on real dumps.
#[must_use]
pub fn as_debuggers_store(raw: &[u8], machine: Machine) -> Vec<u8> {
    let mut bytes = raw.to_vec();
    match machine {
        Machine::X86 => {
            widen_list_entry(&mut bytes);
            // The few of them that are no addresses are small numbers, which stay as they are.
            for field in FIELDS.iter().filter(|field| field.size == size_of::<u64>()) {
                change::<8>(&mut bytes, field.offset, |value| extend(value).to_le_bytes());
            }
        }
        Machine::Amd64 => {
            for offset in USER_SELECTORS {
                change::<2>(&mut bytes, offset, |value| {
                    let selector = if value == 0 { 0 } else { value | 3 };
                    let [low, high, ..] = selector.to_le_bytes();
                    [low, high]
                });
            }
        }
        Machine::Arm64 => {}
    }
    bytes
}

/// In memory of 32-bit Windows the list entry is two addresses of 32 bits; debuggers make it two of 64 bits.
fn widen_list_entry(bytes: &mut [u8]) {
    let Some(entry) = bytes.first_chunk_mut::<16>() else {
        return;
    };
    let both = u64::from_le_bytes(entry[..8].try_into().unwrap_or_default());
    let next = u64::from_le_bytes(entry[8..].try_into().unwrap_or_default());
    if next == 0 && extend(both) != both {
        entry[..8].copy_from_slice(&extend(low_half(both).into()).to_le_bytes());
        entry[8..].copy_from_slice(&extend(both >> 32).to_le_bytes());
    }
}

fn change<const N: usize>(bytes: &mut [u8], offset: usize, new: impl Fn(u64) -> [u8; N]) {
    if let Some(field) = bytes.get_mut(offset..offset + N) {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(field);
        field.copy_from_slice(&new(u64::from_le_bytes(wide)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The selectors as they lie in memory of build 19041 and as debuggers store them.
    #[test]
    fn selectors_get_their_privilege_level() {
        let put = |values: [u8; 10]| {
            let mut bytes = alloc::vec![0; 0x380];
            for (index, value) in values.into_iter().enumerate() {
                bytes[0x2F4 + 2 * index] = value;
            }
            bytes
        };
        let raw = put([0x10, 0x18, 0, 0x30, 0x28, 0, 0, 0x40, 0x20, 0x50]);
        let stored = put([0x10, 0x18, 0, 0x33, 0x2B, 0, 0, 0x40, 0x23, 0x53]);
        assert_eq!(as_debuggers_store(&raw, Machine::Amd64), stored);
        assert_eq!(as_debuggers_store(&stored, Machine::Amd64), stored, "a second time");
        assert_eq!(as_debuggers_store(&raw, Machine::Arm64), raw);
    }

    #[test]
    fn addresses_of_32_bits_are_widened() {
        let mut raw = alloc::vec![0; 0x290];
        raw[..4].copy_from_slice(&0x8054_C7A0_u32.to_le_bytes());
        raw[4..8].copy_from_slice(&0x8054_C7B0_u32.to_le_bytes());
        raw[0x18..0x1C].copy_from_slice(&0x804D_7000_u32.to_le_bytes());
        raw[0x138..0x13C].copy_from_slice(&0x1000_u32.to_le_bytes());
        let stored = as_debuggers_store(&raw, Machine::X86);
        let at = |offset: usize| u64::from_le_bytes(stored[offset..offset + 8].try_into().unwrap());
        assert_eq!((at(0), at(8)), (0xFFFF_FFFF_8054_C7A0, 0xFFFF_FFFF_8054_C7B0));
        assert_eq!((at(0x18), at(0x138)), (0xFFFF_FFFF_804D_7000, 0x1000));
        assert_eq!(as_debuggers_store(&stored, Machine::X86), stored, "a second time");
    }
}
