//! Inflates gzip bodies, up to a cap.

use std::io::Read;

use flate2::bufread::GzDecoder;

/// How many gzip members a body may have. A driver sends one; each costs memory and time, also an empty one.
const MEMBERS: usize = 4;

/// Why a body cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInflated {
    /// The stream is damaged or ends too early.
    Damaged,
    /// The output is larger than the cap.
    TooLarge,
    /// It has too many members.
    Members,
}

/// Inflates a whole gzip body, to at most `cap` bytes. The buffer grows with the output, so that a gzip bomb costs no
/// more than the cap.
///
/// # Errors
/// [`NotInflated`].
pub fn gunzip(body: &[u8], cap: usize) -> Result<Vec<u8>, NotInflated> {
    let mut out = Vec::with_capacity(cap.min(body.len().saturating_mul(4)));
    let mut left = body;
    for _ in 0..MEMBERS {
        let limit = u64::try_from(cap - out.len()).unwrap_or(u64::MAX).saturating_add(1);
        let read = GzDecoder::new(&mut left).take(limit).read_to_end(&mut out);
        read.map_err(|_| NotInflated::Damaged)?;
        if out.len() > cap {
            return Err(NotInflated::TooLarge);
        }
        if left.is_empty() {
            return Ok(out);
        }
    }
    Err(NotInflated::Members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn inflates_up_to_the_cap_and_not_a_byte_more() {
        let body = gzip(&[7; 1000]);
        assert_eq!(gunzip(&body, 1000).unwrap(), [7; 1000]);
        assert_eq!(gunzip(&body, 999), Err(NotInflated::TooLarge));
        assert_eq!(gunzip(&gzip(&vec![0; 64 << 20]), 1 << 16), Err(NotInflated::TooLarge));
        assert_eq!(gunzip(&body[..body.len() - 4], 1000), Err(NotInflated::Damaged));
        assert_eq!(gunzip(b"plain", 1000), Err(NotInflated::Damaged));
        assert_eq!(gunzip(b"", 1000), Err(NotInflated::Damaged));
        // Members are one text (RFC 1952, section 2.2), up to a number of them.
        let parts = |count: usize| [gzip(b"ab"), gzip(b"")].concat().repeat(count / 2);
        assert_eq!(gunzip(&parts(4), 1000).unwrap(), b"abab");
        assert_eq!(gunzip(&parts(4), 3), Err(NotInflated::TooLarge));
        assert_eq!(gunzip(&parts(6), 1000), Err(NotInflated::Members));
        assert_eq!(gunzip(&[gzip(b"ab"), b"junk".to_vec()].concat(), 1000), Err(NotInflated::Damaged));
    }
}
