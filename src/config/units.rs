//! Durations and sizes in words: `"15s"`, `"100ms"`, `"90d"`, `"256KiB"`, `"8MiB"`.
//!
//! Both directions are exact: what [`format_duration`] and [`format_size`] write, the parsers read
//! back as the same value. Nothing here knows a key or a limit; [`super::meaning`] does.
use std::time::Duration;

/// Milliseconds in each unit of time, largest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes in each unit of size, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Why a duration or a size could not be read, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" {what}; {way_out}")]
pub struct UnitError {
    /// The text as it was written.
    pub value: String,
    /// What is wrong with it, as the end of a sentence that begins with the value.
    pub what: String,
    /// What to write instead.
    pub way_out: String,
}

/// Reads a whole number with one of the units `ms`, `s`, `m`, `h`, `d`. A bare `0` is zero.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let milliseconds = parse(text, &TIME_UNITS).map_err(|fault| UnitError {
        value: text.to_owned(),
        what: fault.what(),
        way_out: duration_way_out(text, &fault),
    })?;
    Ok(Duration::from_millis(milliseconds))
}

/// Writes a duration with the largest unit that divides it. A fraction of a millisecond is cut off.
/// A single day is written as `24h`, the way people speak of retry schedules.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    if milliseconds == 86_400_000 {
        return "24h".to_owned();
    }
    format(milliseconds, &TIME_UNITS)
}

/// Reads a whole number with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB`, in bytes. A bare `0`
/// is zero.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZE_UNITS).map_err(|fault| UnitError {
        value: text.to_owned(),
        what: fault.what(),
        way_out: size_way_out(text, &fault),
    })
}

/// Writes a number of bytes with the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { format(bytes, &SIZE_UNITS) }
}

/// What can be wrong with a number and its unit.
enum Fault {
    NoNumber,
    NotWhole,
    NoUnit,
    UnknownUnit(String),
    TooLarge,
}

impl Fault {
    fn what(&self) -> String {
        match self {
            Self::NoNumber => "does not begin with a number".to_owned(),
            Self::NotWhole => "is not a whole number".to_owned(),
            Self::NoUnit => "has no unit".to_owned(),
            Self::UnknownUnit(unit) => format!("has the unknown unit \"{unit}\""),
            Self::TooLarge => "is too large to be counted".to_owned(),
        }
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Fault> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(Fault::NoNumber);
    }
    if unit.starts_with(['.', ',']) {
        return Err(Fault::NotWhole);
    }
    let number: u64 = digits.parse().map_err(|_| Fault::TooLarge)?;
    if unit.is_empty() {
        return if number == 0 { Ok(0) } else { Err(Fault::NoUnit) };
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Fault::UnknownUnit(unit.to_owned()));
    };
    number.checked_mul(*factor).ok_or(Fault::TooLarge)
}

fn format(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) =
        units.iter().find(|(_, factor)| value.is_multiple_of(*factor)).copied().unwrap_or(("", 1));
    format!("{}{name}", value / factor)
}

fn duration_way_out(text: &str, fault: &Fault) -> String {
    match fault {
        Fault::NoUnit => format!("write \"{text}s\" for seconds, or use ms, m, h or d"),
        Fault::NotWhole => {
            "use a smaller unit, as in \"90m\" for an hour and a half or \"500ms\" for half a second"
                .to_owned()
        }
        Fault::NoNumber | Fault::UnknownUnit(_) => {
            "write a whole number and one of ms, s, m, h, d, as in \"15s\"".to_owned()
        }
        Fault::TooLarge => "write a shorter duration, as in \"90d\"".to_owned(),
    }
}

fn size_way_out(text: &str, fault: &Fault) -> String {
    match fault {
        Fault::NoUnit => format!("write \"{text}B\" for bytes, or use KiB, MiB, GiB or TiB"),
        Fault::NotWhole => "use a smaller unit, as in \"1536KiB\" for 1.5 MiB".to_owned(),
        Fault::UnknownUnit(unit) => match binary_unit(unit) {
            Some(meant) => format!("sizes count in 1,024s here: write {meant}"),
            None => size_example(),
        },
        Fault::NoNumber => size_example(),
        Fault::TooLarge => "write a smaller size, as in \"8GiB\"".to_owned(),
    }
}

fn size_example() -> String {
    "write a whole number and one of B, KiB, MiB, GiB, TiB, as in \"256KiB\"".to_owned()
}

/// The unit that someone who wrote `kb`, `M` or `gib` most likely meant.
fn binary_unit(unit: &str) -> Option<&'static str> {
    let first = unit.trim().chars().next()?.to_ascii_lowercase();
    let rest = unit.trim().get(1..)?.to_ascii_lowercase();
    if !["", "b", "i", "ib"].contains(&rest.as_str()) {
        return None;
    }
    match first {
        'k' => Some("KiB"),
        'm' => Some("MiB"),
        'g' => Some("GiB"),
        't' => Some("TiB"),
        'b' => Some("B"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read() {
        #[track_caller]
        fn check(text: &str, milliseconds: u64) {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        check("15s", 15_000);
        check("100ms", 100);
        check("5m", 300_000);
        check("2h", 7_200_000);
        check("90d", 7_776_000_000);
        check("0", 0);
        check("0s", 0);
        check("007s", 7_000);
        check("18446744073709551615ms", u64::MAX);
    }

    #[test]
    fn bad_durations_say_the_value_and_the_way_out() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = parse_duration(text).expect_err(text).to_string();
            assert_eq!(error, expected);
        }
        check("15", "\"15\" has no unit; write \"15s\" for seconds, or use ms, m, h or d");
        check(
            "1.5h",
            "\"1.5h\" is not a whole number; use a smaller unit, as in \"90m\" for an hour and a \
             half or \"500ms\" for half a second",
        );
        let example = "write a whole number and one of ms, s, m, h, d, as in \"15s\"";
        check("", &format!("\"\" does not begin with a number; {example}"));
        check("soon", &format!("\"soon\" does not begin with a number; {example}"));
        check("-5s", &format!("\"-5s\" does not begin with a number; {example}"));
        check("5 s", &format!("\"5 s\" has the unknown unit \" s\"; {example}"));
        check("5min", &format!("\"5min\" has the unknown unit \"min\"; {example}"));
        check("5S", &format!("\"5S\" has the unknown unit \"S\"; {example}"));
        check("1h30m", &format!("\"1h30m\" has the unknown unit \"h30m\"; {example}"));
        let large = "is too large to be counted; write a shorter duration, as in \"90d\"";
        check("18446744073709551616ms", &format!("\"18446744073709551616ms\" {large}"));
        check("213503982335d", &format!("\"213503982335d\" {large}"));
    }

    #[test]
    fn sizes_are_read() {
        #[track_caller]
        fn check(text: &str, bytes: u64) {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        check("256KiB", 262_144);
        check("8MiB", 8_388_608);
        check("1GiB", 1_073_741_824);
        check("2TiB", 2_199_023_255_552);
        check("512B", 512);
        check("0", 0);
        check("0MiB", 0);
    }

    #[test]
    fn bad_sizes_say_the_value_and_the_way_out() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = parse_size(text).expect_err(text).to_string();
            assert_eq!(error, expected);
        }
        check("512", "\"512\" has no unit; write \"512B\" for bytes, or use KiB, MiB, GiB or TiB");
        check(
            "1.5MiB",
            "\"1.5MiB\" is not a whole number; use a smaller unit, as in \"1536KiB\" for 1.5 MiB",
        );
        let thousands = "sizes count in 1,024s here: write";
        check("256KB", &format!("\"256KB\" has the unknown unit \"KB\"; {thousands} KiB"));
        check("8M", &format!("\"8M\" has the unknown unit \"M\"; {thousands} MiB"));
        check("1gib", &format!("\"1gib\" has the unknown unit \"gib\"; {thousands} GiB"));
        let example = "write a whole number and one of B, KiB, MiB, GiB, TiB, as in \"256KiB\"";
        check("5é", &format!("\"5é\" has the unknown unit \"é\"; {example}"));
        check("lots", &format!("\"lots\" does not begin with a number; {example}"));
        check(
            "16777216TiB",
            "\"16777216TiB\" is too large to be counted; write a smaller size, as in \"8GiB\"",
        );
    }

    #[test]
    fn the_largest_unit_that_divides_is_written() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(format_duration(parse_duration(text).expect(text)), expected);
        }
        check("90s", "90s");
        check("60s", "1m");
        check("1500ms", "1500ms");
        check("24h", "24h");
        check("1d", "24h");
        check("48h", "2d");
        check("0ms", "0s");
        assert_eq!(format_size(262_144), "256KiB");
        assert_eq!(format_size(1_025), "1025B");
        assert_eq!(format_size(0), "0");
    }

    proptest! {
        #[test]
        fn every_duration_comes_back(milliseconds in any::<u64>(), factor in 0usize..5) {
            let unit = TIME_UNITS[factor].1;
            let duration = Duration::from_millis(milliseconds / unit * unit);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn every_size_comes_back(bytes in any::<u64>(), factor in 0usize..5) {
            let unit = SIZE_UNITS[factor].1;
            let size = bytes / unit * unit;
            prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}") {
            // Either answer is right; an error must name what was written.
            if let Err(error) = parse_size(&text) {
                prop_assert!(error.to_string().contains(&text));
            }
            if let Err(error) = parse_duration(&text) {
                prop_assert!(error.to_string().contains(&text));
            }
        }
    }
}
