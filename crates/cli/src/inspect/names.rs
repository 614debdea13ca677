//! Names for what a dump has as numbers.

use dotdump_format::minidump::context::xstate::feature;

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
