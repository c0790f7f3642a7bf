//! Times for people: RFC 3339 in UTC, and spans in their two largest units.

/// The last millisecond of the year 9999: RFC 3339 has four digits for the year.
const LAST_MS: u64 = 253_402_300_799_999;
const DAY_S: u64 = 86_400;

/// A time in Unix milliseconds, to the second. 0 is unknown: `-`.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    if unix_ms == 0 || unix_ms > LAST_MS {
        return "-".into();
    }
    let seconds = unix_ms / 1000;
    let of_day = seconds % DAY_S;
    format!("{}T{:02}:{:02}:{:02}Z", date(seconds / DAY_S), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// The date of a day number since 1970-01-01.
///
/// Days are counted from 0000-03-01, so that the leap day is the last of its year; a "year" below begins
/// in March.
pub(super) fn date(day: u64) -> String {
    const DAYS_400_YEARS: u64 = 146_097;
    const DAYS_FROM_MARCH_0000: u64 = 719_468;
    let day = day.saturating_add(DAYS_FROM_MARCH_0000);
    let of_era = day % DAYS_400_YEARS;
    // Without the leap days that have passed, all years have 365 days.
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, five months always have 153 days.
    let month_from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = day / DAYS_400_YEARS * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

/// A span in seconds: `4 d 3 h`, `2 h 5 min`, `7 min 3 s`, `9 s`.
pub(super) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(DAY_S, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(first) = UNITS.iter().position(|(length, _)| seconds >= *length) else {
        return "0 s".into();
    };
    let (length, name) = UNITS[first];
    let whole = format!("{} {name}", seconds / length);
    match UNITS.get(first + 1) {
        Some((smaller, its_name)) if seconds % length >= *smaller => {
            format!("{whole} {} {its_name}", seconds % length / smaller)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(951_868_799_999), "2000-02-29T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_392_000_000), "2026-11-23T00:00:00Z");
        assert_eq!(rfc3339(LAST_MS), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_time_is_a_dash() {
        assert_eq!(rfc3339(0), "-");
        assert_eq!(rfc3339(LAST_MS + 1), "-");
        assert_eq!(rfc3339(u64::MAX), "-");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970_u32, 1_u32, 1_u32);
        for number in 0..200_000 {
            assert_eq!(date(number), format!("{year:04}-{month:02}-{day:02}"), "day {number}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(60), "1 min");
        assert_eq!(span(7_503), "2 h 5 min");
        assert_eq!(span(604_800), "7 d");
        assert_eq!(span(86_400 + 59), "1 d");
    }
}
