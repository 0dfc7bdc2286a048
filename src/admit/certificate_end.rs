//! [`certificate_end`]: when an X.509 certificate ends, which TLS looks at in a full handshake alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate in DER form (RFC 5280, section 4.1); `None` if it is not where it belongs.
pub(super) fn certificate_end(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = Der(der).next(SEQUENCE)?;
    let (_, signed) = certificate.next(SEQUENCE)?;
    // The version may be missing; then come serial number, algorithm and issuer.
    let rest = signed.next(VERSION).map_or(signed, |(rest, _)| rest);
    let (rest, _) = rest.any().and_then(|(rest, ..)| rest.any()).and_then(|(rest, ..)| rest.next(SEQUENCE))?;
    let (_, validity) = rest.next(SEQUENCE)?;
    let (rest, ..) = validity.any()?;
    let (_, kind, end) = rest.any()?;
    parse(kind, end.0)
}

/// A part of a DER text.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The first element, if it has this tag: what follows it, and its content.
    fn next(self, tag: u8) -> Option<(Self, Self)> {
        let (rest, found, content) = self.any()?;
        (found == tag).then_some((rest, content))
    }

    /// The first element: what follows it, its tag and its content.
    fn any(self) -> Option<(Self, u8, Self)> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (
                    digits
                        .iter()
                        .try_fold(0, |sum: usize, digit| sum.checked_mul(256)?.checked_add((*digit).into()))?,
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self(rest), tag, Self(content)))
    }
}

/// `YYMMDDhhmmssZ`, or the same with four digits of the year.
fn parse(kind: u8, text: &[u8]) -> Option<SystemTime> {
    let text =
        std::str::from_utf8(text).ok()?.strip_suffix('Z').filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match (kind, text.len()) {
        (UTC_TIME, 12) => {
            let year: i32 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |number: usize| rest[2 * number..2 * number + 2].parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(1)?).ok()?;
    let at = PrimitiveDateTime::new(date, Time::from_hms(part(2)?, part(3)?, part(4)?).ok()?).assume_utc();
    // One before 1970 has ended in any case.
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(at.unix_timestamp()).unwrap_or_default()))
}

#[cfg(all(test, feature = "demo"))]
mod tests {
    use super::*;

    fn seconds(end: SystemTime) -> u64 {
        end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    #[test]
    fn the_end_is_read_in_both_forms_and_never_out_of_bounds() {
        for (year, seconds_of) in
            [(2031, 1_924_992_000), (2049, 2_493_072_000), (2050, 2_524_608_000), (2110, 4_417_977_600)]
        {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let der = params.self_signed(&key).unwrap().der().to_vec();
            assert_eq!(seconds(certificate_end(&der).unwrap()), seconds_of, "{year}");
            for cut in 0..der.len() {
                let _no_panic = certificate_end(&der[..cut]);
            }
        }
        assert_eq!(parse(UTC_TIME, b"500101000000Z").map(seconds), Some(0));
        for bad in [&b"3101010000Z"[..], b"310101000000", b"311301000000Z", b"+10101000000Z", b"\xff"] {
            assert_eq!(parse(UTC_TIME, bad), None);
        }
    }
}
