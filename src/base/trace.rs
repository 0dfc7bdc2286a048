//! [`TraceId`], [`SpanId`] and [`TraceParent`]: the names of requests across programs, as W3C has them.

use std::fmt;

/// The id of one span of a trace: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// The `traceparent` header (<https://www.w3.org/TR/trace-context/>, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that sends the request.
    pub span: SpanId,
    /// Whether its sender records it.
    pub sampled: bool,
}

impl SpanId {
    /// From random bytes; the all-zero id, which the standard forbids, becomes the id 1.
    pub fn from_bytes(mut bytes: [u8; 8]) -> Self {
        if bytes == [0; 8] {
            bytes[7] = 1;
        }
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TraceParent {
    /// Reads a header; `None` if it is malformed. Of a later version than 00 it reads what that one has.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let dash = |at: usize| header.get(at) == Some(&b'-');
        if header.len() < 55 || !dash(2) || !dash(35) || !dash(52) {
            return None;
        }
        if header.starts_with(b"ff") || (header.starts_with(b"00") && header.len() != 55) {
            return None;
        }
        let flags: [u8; 1] = small_hex(&header[53..55])?;
        let (trace, span) = (TraceId(hex_of(&header[3..35])?), SpanId(hex_of(&header[36..52])?));
        Some(Self { trace, span, sampled: flags[0] & 1 == 1 })
    }

    /// The header's value.
    pub fn write(self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.trace.to_hex());
        // The lengths fit.
        let _infallible = hex::encode_to_slice(self.span.0, &mut text[36..52]);
        text[54] = if self.sampled { b'1' } else { b'0' };
        text
    }
}

/// Bytes from lower-case hex digits, the only ones that the standard allows, and not all zero.
fn hex_of<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    small_hex(digits).filter(|bytes| *bytes != [0; N])
}

fn small_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// A W3C trace id (<https://www.w3.org/TR/trace-context/>, section 3.2.2.3): 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// From random bytes; the all-zero id, which the standard forbids, becomes the id 1.
    pub fn from_bytes(mut bytes: [u8; 16]) -> Self {
        if bytes == [0; 16] {
            bytes[15] = 1;
        }
        Self(bytes)
    }

    /// Reads an id of 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex_of(text.as_bytes()).map(Self)
    }

    /// Whether it falls into this part of all traces, from 0 to 1: the same traces everywhere.
    pub fn falls_within(self, part: f64) -> bool {
        let mut last = [0; 8];
        last.copy_from_slice(&self.0[8..]);
        part >= 1.0 || (u64::from_be_bytes(last) as f64) < part * u64::MAX as f64
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// 32 lower-case hex digits on the stack, for headers.
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        // The lengths fit.
        let _infallible = hex::encode_to_slice(self.0, &mut text);
        text
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_read_and_written_as_the_standard_says() {
        let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(header).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(&parent.trace.to_hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.sampled), ("00f067aa0ba902b7", true));
        assert_eq!(&parent.write(), header);
        assert!(!TraceParent { sampled: false, ..parent }.write().ends_with(b"1"));
        assert_eq!(TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736"), Some(parent.trace));
        assert_eq!(TraceId::parse("4bf92f3577b34da6a3ce929d0e0e473"), None);
        for bad in [
            &b"00-00000000000000000000000000000000-00f067aa0ba902b7-01"[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            b"junk",
        ] {
            assert!(TraceParent::parse(bad).is_none());
        }
    }
}
