//! Inflates gzip bodies, up to a cap.

use std::io::Read;

/// Why a body cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInflated {
    /// The stream is damaged or ends too early.
    Damaged,
    /// The output is larger than the cap.
    TooLarge,
}

/// Inflates a whole gzip body, to at most `cap` bytes. The buffer grows with the output, so that a gzip bomb costs no
/// more than the cap.
///
/// # Errors
/// [`NotInflated`].
pub fn gunzip(body: &[u8], cap: usize) -> Result<Vec<u8>, NotInflated> {
    let mut out = Vec::with_capacity(cap.min(body.len().saturating_mul(4)));
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut out).map_err(|_| NotInflated::Damaged)?;
    if out.len() > cap { Err(NotInflated::TooLarge) } else { Ok(out) }
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
    }
}
