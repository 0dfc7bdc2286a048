//! Durations, sizes and rates as people write them: a number and its unit.

use std::num::NonZeroU32;
use std::time::Duration;

/// What every duration matches.
pub const DURATION: &str = r"^[0-9]+\s*(ms|s|m|h|d)$";
/// What every size matches.
pub const SIZE: &str = r"^[0-9]+\s*(B|KiB|MiB|GiB)$";
/// What every rate matches.
pub const RATE: &str = r"^\s*[0-9]+\s*/\s*[0-9]*\s*(s|min|h)\s*$";

/// `250ms`, `30s`, `5m`, `24h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

/// A duration in the largest unit that shows it exactly.
pub fn show_duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match seconds {
        _ if value.subsec_millis() > 0 || seconds == 0 => format!("{}ms", value.as_millis()),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `512B`, `64KiB`, `1MiB`, in bytes.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

/// A count per time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The count.
    pub count: NonZeroU32,
    /// The time.
    pub per: Duration,
}

/// `200/s`, `60/min`, `300/10min`, `1000/h`.
pub fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = per.trim();
    let digits = per.find(|c: char| !c.is_ascii_digit())?;
    let times: u64 = if digits == 0 { 1 } else { per[..digits].parse().ok().filter(|times| *times > 0)? };
    let unit = match per[digits..].trim_start() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let per = times.checked_mul(unit).filter(|seconds| *seconds <= 86_400)?;
    Some(Rate { count: count.trim().parse().ok()?, per: Duration::from_secs(per) })
}

fn split(text: &str) -> Option<(u64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..unit].parse().ok()?, text[unit..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_their_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5 m"), Some(Duration::from_secs(300)));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(rate("60/min").map(|rate| (rate.count.get(), rate.per.as_secs())), Some((60, 60)));
        assert_eq!(rate("300/10min").map(|rate| (rate.count.get(), rate.per.as_secs())), Some((300, 600)));
        for bad in ["1/0s", "1/25h", "1/10", "1/min10"] {
            assert!(rate(bad).is_none(), "{bad}");
        }
        for bad in ["", "5", "m", "-1s", "5x", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(bad).is_none() && size(bad).is_none() && rate(bad).is_none(), "{bad}");
        }
        assert!(rate("0/s").is_none());
        for shown in ["250ms", "0ms", "90s", "5m", "24h", "1500ms"] {
            let value = duration(shown).unwrap();
            assert_eq!(duration(&show_duration(value)), Some(value));
        }
    }
}
