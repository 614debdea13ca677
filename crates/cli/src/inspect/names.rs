//! Names for what a dump has as numbers.

use dotdump_format::minidump::MiniDumpType;
use dotdump_format::minidump::context::xstate::feature;

/// The flags of a header by the names that the Windows headers have for them. Bits without a name come last, as a
/// number.
pub(super) fn flags(flags: MiniDumpType) -> Vec<String> {
    let mut rest = flags.bits();
    let mut names = Vec::new();
    for (name, flag) in flags.iter_names() {
        names.push(flag_name(name));
        rest &= !flag.bits();
    }
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

/// `WITH_FULL_MEMORY` as `MiniDumpWithFullMemory`.
fn flag_name(constant: &str) -> String {
    let mut name = String::from("MiniDump");
    for word in constant.split('_') {
        // The one word with a capital letter in its middle.
        if word == "XSTATE" {
            name.push_str("XState");
            continue;
        }
        let (first, rest) = word.split_at(1);
        name.push_str(first);
        name.push_str(&rest.to_lowercase());
    }
    name
}

/// The components of an extended state.
pub(super) fn xstate(features: u64) -> Vec<String> {
    (0..64)
        .filter(|bit| features >> bit & 1 != 0)
        .map(|bit| {
            let name = match bit {
                feature::AVX => "avx",
                feature::MPX_BNDREGS => "mpx-bndregs",
                feature::MPX_BNDCSR => "mpx-bndcsr",
                feature::AVX512_KMASK => "avx512-opmask",
                feature::AVX512_ZMM_HI256 => "avx512-zmm-hi256",
                feature::AVX512_HI16_ZMM => "avx512-hi16-zmm",
                feature::IPT => "ipt",
                feature::PKRU => "pkru",
                feature::PASID => "pasid",
                feature::CET_U => "cet-u",
                feature::CET_S => "cet-s",
                feature::AMX_TILECFG => "amx-tile-config",
                feature::AMX_TILEDATA => "amx-tile-data",
                feature::LWP => "lwp",
                _ => return format!("bit-{bit}"),
            };
            name.to_owned()
        })
        .collect()
}

/// The last part of a path of any system.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_spelled_as_in_the_windows_headers() {
        let some = MiniDumpType::WITH_FULL_MEMORY
            | MiniDumpType::IGNORE_INACCESSIBLE_MEMORY
            | MiniDumpType::WITH_AVX_XSTATE_CONTEXT;
        let some = MiniDumpType::from_bits_retain(some.bits() | 1 << 40);
        assert_eq!(
            flags(some),
            [
                "MiniDumpWithFullMemory",
                "MiniDumpIgnoreInaccessibleMemory",
                "MiniDumpWithAvxXStateContext",
                "0x10000000000"
            ]
        );
        assert!(flags(MiniDumpType::empty()).is_empty());
    }

    #[test]
    fn components_have_names() {
        let bits = 1 << feature::AVX | 1 << feature::CET_U | 1 << 60;
        assert_eq!(xstate(bits), ["avx", "cet-u", "bit-60"]);
    }

    #[test]
    fn file_names_of_any_system() {
        assert_eq!(file_name(r"C:\a\b.dll"), "b.dll");
        assert_eq!(file_name("/usr/lib/c.so"), "c.so");
        assert_eq!(file_name("d"), "d");
    }
}
