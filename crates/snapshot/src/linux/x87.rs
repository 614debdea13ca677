//! x87 registers in the two forms that processors store.

use dotdump_format::minidump::context::{Float80, FloatingSaveArea, FxSave};

/// The tags of FNSAVE, 2 bits for each register.
const VALID: u32 = 0;
const ZERO: u32 = 1;
const SPECIAL: u32 = 2;
const EMPTY: u32 = 3;

/// What FNSAVE would store where FXSAVE stored this. (Reserved upper halves of its words are ones, as FNSAVE has them.)
pub(super) fn fnsave(image: &FxSave) -> FloatingSaveArea {
    const RESERVED: u32 = 0xFFFF_0000;
    FloatingSaveArea {
        control_word: (RESERVED | u32::from(image.control_word.get())).into(),
        status_word: (RESERVED | u32::from(image.status_word.get())).into(),
        tag_word: (RESERVED | tags(image)).into(),
        error_offset: image.error_offset,
        error_selector: (u32::from(image.error_selector.get()) | u32::from(image.error_opcode.get()) << 16).into(),
        data_offset: image.data_offset,
        data_selector: (RESERVED | u32::from(image.data_selector.get())).into(),
        st: image.st.map(|slot| slot.value),
        cr0_npx_state: 0.into(),
    }
}

/// The tags in their long form. They belong to physical registers, of which the status word says which one is ST(0).
fn tags(image: &FxSave) -> u32 {
    let top = u32::from(image.status_word.get()) >> 11 & 7;
    (0..8).zip(&image.st).fold(0, |tags, (n, slot)| {
        let physical = (top + n) % 8;
        let tag = match image.tag_word >> physical & 1 {
            0 => EMPTY,
            _ => tag(&slot.value),
        };
        tags | tag << (2 * physical)
    })
}

fn tag(value: &Float80) -> u32 {
    let is_normal = value.significand.get() >> 63 != 0;
    match (value.sign_exponent.get() & 0x7FFF, value.significand.get()) {
        (0, 0) => ZERO,
        (0 | 0x7FFF, _) => SPECIAL,
        _ if is_normal => VALID,
        _ => SPECIAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(sign_exponent: u16, significand: u64) -> Float80 {
        Float80 {
            significand: significand.into(),
            sign_exponent: sign_exponent.into(),
        }
    }

    #[test]
    fn tags_follow_the_physical_registers() {
        let mut image = FxSave {
            control_word: 0x37F.into(),
            // ST(0) is physical register 5.
            status_word: (5 << 11).into(),
            // Physical registers 5, 6, 7 and 0 are in use.
            tag_word: 0b1110_0001,
            error_opcode: 0x1DD.into(),
            error_selector: 0x23.into(),
            ..FxSave::default()
        };
        image.st[0].value = float(0x3FFF, 1 << 63); // 1.0
        image.st[1].value = float(0x8000, 0); // -0.0
        image.st[2].value = float(0x7FFF, 1 << 63); // infinity
        image.st[3].value = float(0, 1); // a denormal
        let area = fnsave(&image);
        // 7: special, 6: zero, 5: valid, 4 to 1: empty, 0: special.
        assert_eq!(area.tag_word.get(), 0xFFFF_0000 | 0b1001_0011_1111_1110);
        assert_eq!(
            (area.control_word.get(), area.status_word.get()),
            (0xFFFF_037F, 0xFFFF_2800)
        );
        assert_eq!(area.error_selector.get(), 0x01DD_0023);
        assert_eq!(area.st[0], float(0x3FFF, 1 << 63));
    }
}
