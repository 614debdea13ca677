//! Sizes as people write them.

/// Reads `4096`, `200K`, `10M`, `1G` or `2T`; `KiB` and so on are the same. Units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        unit => {
            return Err(format!(
                "unknown unit `{unit}`; known are K, M, G and T, powers of 1024"
            ));
        }
    };
    // A sign is no part of a size, although the standard library would take it.
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("not a whole number with an optional unit, such as 200K or 10M".into());
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        for (text, size) in [
            ("0", 0),
            ("4097", 4097),
            ("512B", 512),
            ("200K", 200 << 10),
            ("10M", 10 << 20),
            ("10m", 10 << 20),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "M",
            "1.5M",
            "-1",
            "+1",
            "1X",
            "1KB",
            "0x10",
            "1 M",
            "18446744073709551616",
            "16777216T",
            "１",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
