use alloc::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::minidump::context::{Context, ContextAmd64, ContextError, ContextFlags, ContextX86};

const ALL_KNOWN: u64 = 0x7FC | 1 << 11 | 1 << 12 | 1 << 17 | 1 << 18 | 1 << 62;

fn amd64() -> Vec<u8> {
    let mut context = ContextAmd64::default();
    for (n, xmm) in (0..).zip(&mut context.flt_save.xmm) {
        *xmm = u128::MAX.wrapping_sub(n).into();
    }
    Context::from(context).write_to(Endian::Little)
}

/// Bytes for a component by which its parts can be told apart.
fn pattern(bit: u32) -> Vec<u8> {
    let size = feature::default_size(bit).unwrap();
    (0..size)
        .map(|i| u8::try_from((i / 8 * 3 + i + bit as usize) % 255 + 1).unwrap())
        .collect()
}

#[test]
fn canonical_layout() {
    for (context, offset, flags) in [
        (amd64(), 48, ContextFlags::AMD64_XSTATE.0 & 0xFF),
        (
            Context::from(ContextX86::default()).write_to(Endian::Little),
            52,
            ContextFlags::X86_XSTATE.0 & 0xFF,
        ),
    ] {
        let base = context.len();
        let config = XStateConfig::for_features(base, 1 << 2);
        let extended = write_extended(&context, &config, &[(2, &pattern(2))], Endian::Little).unwrap();
        assert_eq!(extended.len(), base + offset + 320);
        assert_eq!(config.context_size.get() as usize, extended.len());
        assert_eq!((base + offset) % 64, 0);
        let chunks = ContextEx::read(&extended[base..], Endian::Little).unwrap();
        let pairs = [chunks.all, chunks.legacy, chunks.xstate, chunks.kernel_cet];
        let pairs = pairs.map(|chunk| (i64::from(chunk.offset.get()), chunk.length.get() as usize));
        let before = -i64::try_from(base).unwrap();
        let start = i64::try_from(offset).unwrap();
        assert_eq!(pairs, [(before, extended.len()), (before, base), (start, 320), (0, 0)]);
        assert_eq!(
            extended[base + offset..][..16],
            [4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0x80]
        );
        let kind = layout::extensible(base).unwrap();
        assert_eq!(kind.flags_of(&extended, Endian::Little), Some(ContextFlags(flags)));
    }
}

#[test]
fn tiles_are_aligned_in_the_compacted_format() {
    let context = amd64();
    // 64 + 8 bytes lead to 72, and 128 is the next multiple of 64.
    let config = XStateConfig::for_features(context.len(), 1 << 9 | 1 << 17 | 1 << 18);
    let given: [(u32, &[u8]); 2] = [(9, &pattern(9)), (17, &pattern(17))];
    let extended = write_extended(&context, &config, &given, Endian::Little).unwrap();
    assert_eq!(extended.len(), 1232 + 48 + 128 + 64 + 8192);
    assert_eq!(extended[1280 + 128..][..64], pattern(17));
    let state = XState::read(&extended, 1232, Endian::Little).unwrap();
    assert_eq!(state.component(17), Some(pattern(17).as_slice()));
    assert_eq!(state.component(18), None);
    assert_eq!(state.tile(7), Some([0; 1024]));
    assert_eq!(state.tile(8), None);
}

#[test]
fn registers_are_put_together() {
    let context = amd64();
    let config = XStateConfig::for_features(context.len(), ALL_KNOWN);
    let bytes: Vec<(u32, Vec<u8>)> = [2, 3, 4, 5, 6, 7, 9, 11, 17, 18].map(|bit| (bit, pattern(bit))).into();
    let given: Vec<(u32, &[u8])> = bytes.iter().map(|(bit, bytes)| (*bit, bytes.as_slice())).collect();
    let extended = write_extended(&context, &config, &given, Endian::Little).unwrap();
    let state = XState::read(&extended, context.len(), Endian::Little).unwrap();

    let xmm3 = (u128::MAX - 3).to_le_bytes();
    let zmm3 = [&xmm3, &pattern(2)[48..64], &pattern(6)[96..128]].concat();
    assert_eq!(state.ymm(3).unwrap(), zmm3[..32]);
    assert_eq!(state.zmm(3).unwrap(), zmm3[..]);
    assert_eq!(state.zmm(31).unwrap(), pattern(7)[15 * 64..]);
    assert_eq!((state.ymm(16), state.zmm(32)), (None, None));
    assert_eq!(state.opmask(7).unwrap().to_le_bytes(), pattern(5)[56..]);
    assert_eq!(state.opmask(8), None);
    assert_eq!(state.pkru().unwrap().to_le_bytes(), pattern(9)[..4]);
    assert_eq!(state.cet_u().unwrap().ia32_pl3_ssp_msr.as_bytes(), &pattern(11)[8..]);
    assert_eq!(state.bound(3).unwrap().as_bytes(), &pattern(3)[48..]);
    assert_eq!(state.bound_config().unwrap().as_bytes(), &pattern(4)[..16]);
    assert_eq!(state.tile_config().unwrap().rows, pattern(17)[48..]);
    assert_eq!(state.tile(7).unwrap(), pattern(18)[7168..]);
}

#[test]
fn standard_format_takes_its_offsets_from_the_configuration() {
    // As on a CPU of AMD without MPX and AVX-512, where protection keys follow AVX.
    let mut config = XStateConfig::for_features(1232, 1 << 2 | 1 << 9);
    config.features[9].offset = 832.into();
    let mut extended =
        write_extended(&amd64(), &config, &[(2, &pattern(2)), (9, &pattern(9))], Endian::Little).unwrap();
    extended[1280 + 8..][..8].fill(0);
    let state = XState::read(&extended, 1232, Endian::Little).unwrap();
    assert!(!state.is_compacted());
    assert_eq!(state.component(2), Some(pattern(2).as_slice()));
    assert_eq!(state.component(9), None);
    assert_eq!(state.with_config(&config).component(9), Some(pattern(9).as_slice()));

    // An offset in the header or in front of it.
    config.features[9].offset = 512.into();
    assert_eq!(state.with_config(&config).component(9), None);
    config.features[9].offset = 8.into();
    assert_eq!(state.with_config(&config).component(9), None);
}

#[test]
fn initial_state_is_zero() {
    let context = amd64();
    let config = XStateConfig::for_features(context.len(), 1 << 2);
    let extended = write_extended(&context, &config, &[], Endian::Little).unwrap();
    let state = XState::read(&extended, context.len(), Endian::Little).unwrap();
    assert_eq!((state.features(), state.present()), (0, 4));
    assert_eq!(state.component(2), None);
    assert_eq!(state.ymm(0).unwrap(), *[[0xFF; 16], [0; 16]].as_flattened());
    assert_eq!(state.zmm(0), None);
    assert_eq!(state.cet_u(), None);
}

#[test]
fn cut_components_give_the_registers_that_are_there() {
    let config = XStateConfig::for_features(1232, 1 << 2);
    let extended = write_extended(&amd64(), &config, &[(2, &pattern(2))], Endian::Little).unwrap();
    let cut = &extended[..extended.len() - 256 + 127];
    let state = XState::read(cut, 1232, Endian::Little).unwrap();
    assert_eq!(state.component(2), None);
    assert_eq!(state.ymm(6).unwrap()[16..], pattern(2)[96..112]);
    assert_eq!(state.ymm(7), None);
}

#[test]
fn what_is_no_extended_state() {
    let config = XStateConfig::for_features(1232, 1 << 2);
    let extended = write_extended(&amd64(), &config, &[], Endian::Little).unwrap();
    // The flag alone proves nothing.
    assert!(XState::read(&extended[..1232], 1232, Endian::Little).is_none());
    assert!(XState::read(&extended[..1232 + 95], 1232, Endian::Little).is_none());
    assert!(XState::read(&extended, 716, Endian::Little).is_none());
    let with = |at: usize, value: i32| {
        let mut damaged = extended.clone();
        damaged[1232 + at..][..4].copy_from_slice(&value.to_le_bytes());
        XState::read(&damaged, 1232, Endian::Little).is_some()
    };
    assert!(
        with(4, i32::MAX),
        "the length of everything may claim more than is there"
    );
    assert!(!with(8, 1232));
    assert!(!with(8, i32::MIN));
    assert!(!with(16, -48));
    assert!(!with(16, 16));
    assert!(!with(16, i32::MAX));
    assert!(!with(20, 63));
    assert!(with(20, -1), "the length of the area may claim more than is there");
}

#[test]
fn components_that_do_not_fit() {
    let config = XStateConfig::for_features(1232, 1 << 2);
    let write = |config: &XStateConfig, components: &[(u32, &[u8])]| {
        write_extended(&amd64(), config, components, Endian::Little).unwrap_err()
    };
    let (bit, size) = (2, 257);
    assert_eq!(
        write(&config, &[(2, &[0; 257])]),
        ContextError::Component {
            bit,
            size,
            expected: 256
        }
    );
    for bit in [0, 11, 63, 64, u32::MAX] {
        assert_eq!(
            write(&config, &[(bit, &[0])]),
            ContextError::Component {
                bit,
                size: 1,
                expected: 0
            }
        );
    }
    let mut hostile = config;
    hostile.features[2].size = u32::MAX.into();
    assert!(matches!(write(&hostile, &[]), ContextError::Component { bit: 2, .. }));
    hostile.enabled_features = (1 << 40).into();
    assert_eq!(
        write(&hostile, &[]),
        ContextError::Component {
            bit: 40,
            size: 0,
            expected: 0
        }
    );
    let error = write_extended(&[0; 912], &config, &[], Endian::Little).unwrap_err();
    assert_eq!(error, ContextError::NotExtensible { size: 912 });
}

proptest! {
    #[test]
    fn written_as_read(features: u64, given: u64, x86: bool, big: bool) {
        let endian = if big { Endian::Big } else { Endian::Little };
        let base = if x86 { 716 } else { 1232 };
        let config = XStateConfig::for_features(base, features & ALL_KNOWN);
        let bytes: Vec<(u32, Vec<u8>)> =
            ordered(config.components() & given).map(|bit| (bit, pattern(bit))).collect();
        let components: Vec<(u32, &[u8])> = bytes.iter().map(|(bit, bytes)| (*bit, bytes.as_slice())).collect();
        let extended = write_extended(&alloc::vec![0; base], &config, &components, endian).unwrap();
        prop_assert_eq!(extended.len(), config.context_size.get() as usize);
        for state in [
            XState::read(&extended, base, endian).unwrap(),
            XState::read(&extended, base, endian).unwrap().with_config(&config),
        ] {
            prop_assert_eq!(state.features(), config.components() & given);
            prop_assert_eq!(state.present(), config.components());
            for (bit, bytes) in &components {
                prop_assert_eq!(state.component(*bit), Some(*bytes));
            }
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
        start: u16,
        length: u32,
        masks: (u64, u64),
        config: (u64, u32, u32),
        plausible: bool,
        extensible: bool,
    ) {
        let base = if extensible { 716 } else { 80 };
        if plausible && bytes.len() > base + 32 {
            bytes[base + 8..][..4].copy_from_slice(&(-i32::try_from(base).unwrap()).to_le_bytes());
            bytes[base + 16..][..4].copy_from_slice(&u32::from(start % 1024).to_le_bytes());
            bytes[base + 20..][..4].copy_from_slice(&length.to_le_bytes());
            let header = base + usize::from(start % 1024);
            if let Some(room) = bytes.get_mut(header..header + 16) {
                room.copy_from_slice([masks.0, masks.1].as_bytes());
            }
        }
        let mut hostile = XStateConfig { enabled_features: config.0.into(), ..XStateConfig::default() };
        hostile.features.fill(XStateFeature { offset: config.1.into(), size: config.2.into() });
        for endian in [Endian::Little, Endian::Big] {
            let Some(state) = XState::read(&bytes, base, endian) else { continue };
            for state in [state, state.with_config(&hostile)] {
                for bit in 0..70 {
                    let _ = state.component(bit);
                }
                for n in [0, 1, 7, 8, 15, 16, 31, 32, usize::MAX] {
                    let _ = (state.ymm(n), state.zmm(n), state.opmask(n), state.bound(n), state.tile(n));
                }
                let _ = (state.cet_u(), state.tile_config(), state.pkru(), state.bound_config());
            }
            let _ = write_extended(&bytes[..base], &hostile, &[], endian);
        }
    }
}
