//! The two clocks of dump files: `time_t` (32-bit seconds since 1970) and `FILETIME` (100 ns ticks since 1601).

/// Ticks of 100 ns in a second.
pub const TICKS_PER_SECOND: u64 = 10_000_000;

/// Seconds from 1601-01-01 to 1970-01-01, both UTC.
pub const FILETIME_EPOCH_SECONDS: u64 = 11_644_473_600;

/// A `FILETIME` as seconds since 1970, rounded down; `None` for times before 1970.
#[must_use]
pub const fn filetime_to_unix(filetime: u64) -> Option<u64> {
    (filetime / TICKS_PER_SECOND).checked_sub(FILETIME_EPOCH_SECONDS)
}

/// Seconds since 1970 as a `FILETIME`; `None` where that overflows.
#[must_use]
pub const fn unix_to_filetime(seconds: u64) -> Option<u64> {
    match seconds.checked_add(FILETIME_EPOCH_SECONDS) {
        Some(seconds) => seconds.checked_mul(TICKS_PER_SECOND),
        None => None,
    }
}

/// A point in time in the civil calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CivilTime {
    /// Year, 1970 or later.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
}

impl CivilTime {
    /// The civil time of `seconds` since 1970, by the days-from-civil algorithm for the proleptic Gregorian calendar.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01, so that the leap day ends a year; 400 years have 146,097 days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let small = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: small(month),
            day: small(day),
            hour: small(rest / 3600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
        }
    }
}

impl core::fmt::Display for CivilTime {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    // Expected values: `date -u -d @SECONDS`.
    #[test]
    fn civil_time_of_known_seconds() {
        assert_eq!(CivilTime::from_unix(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(CivilTime::from_unix(951_782_399).to_string(), "2000-02-28 23:59:59 UTC");
        assert_eq!(CivilTime::from_unix(951_782_400).to_string(), "2000-02-29 00:00:00 UTC");
        assert_eq!(
            CivilTime::from_unix(1_529_186_974).to_string(),
            "2018-06-16 22:09:34 UTC"
        );
        assert_eq!(
            CivilTime::from_unix(4_294_967_295).to_string(),
            "2106-02-07 06:28:15 UTC"
        );
    }

    #[test]
    fn filetime_of_1970_is_the_epoch_difference() {
        assert_eq!(unix_to_filetime(0), Some(116_444_736_000_000_000));
        assert_eq!(filetime_to_unix(116_444_736_000_000_000), Some(0));
        assert_eq!(filetime_to_unix(0), None);
    }
}
