//! The PROXY protocol, versions 1 and 2: a balancer sends the address of its client.
//!
//! The gate reads the header to its last byte and no further, because TLS follows directly. A trusted balancer must
//! send it. From any other peer it is not TLS, and the handshake fails.
//! (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>)

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a version 2 header.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its line end.
const LONGEST_V1: usize = 107;
/// The longest version 2 header that the gate reads: addresses, and far more other data than balancers send.
const LONGEST_V2: usize = 4 << 10;

/// Reads a header; returns its address, or none if the balancer connects for itself.
///
/// # Errors
/// If it is not a header, if it is too long, or if the connection fails.
pub(super) async fn read<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > LONGEST_V2 {
            return Err(no_header("it is too long"));
        }
        header.resize(16 + length, 0);
        stream.read_exact(&mut header[16..]).await?;
    } else {
        while header.last() != Some(&b'\n') {
            if header.len() >= LONGEST_V1 || !header.starts_with(b"PROXY ") {
                return Err(no_header("its start or its end is wrong"));
            }
            header.push(stream.read_u8().await?);
        }
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(tcp) => Some((IpAddr::V4(tcp.source_address), tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((IpAddr::V6(tcp.source_address), tcp.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::IPv4(ip) => Ok(Some((IpAddr::V4(ip.source_address), ip.source_port).into())),
            v2::Addresses::IPv6(ip) => Ok(Some((IpAddr::V6(ip.source_address), ip.source_port).into())),
            v2::Addresses::Unspecified => Ok(None),
            v2::Addresses::Unix(_) => Err(no_header("it names a Unix socket")),
        },
        HeaderResult::V1(Err(error)) => Err(no_header(&error.to_string())),
        HeaderResult::V2(Err(error)) => Err(no_header(&error.to_string())),
    }
}

fn no_header(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no PROXY header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(header: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        let with_tls = [header, b"\x16\x03\x01"].concat();
        let mut left = &with_tls[..];
        let read = read(&mut left).await?;
        Ok((read, left.len()))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_source_and_leave_the_rest() {
        let ip4 = [203, 0, 113, 7, 127, 0, 0, 1, 0x1f, 0x90, 0x20, 0xfb];
        let mut ip6 = vec![0x20, 1, 0xd, 0xb8];
        ip6.resize(36, 0);
        let more = [&ip4[..], &[4, 0, 3, 1, 2, 3]].concat();
        for (header, source) in [
            (b"PROXY TCP4 203.0.113.7 127.0.0.1 8080 8443\r\n".to_vec(), Some("203.0.113.7:8080")),
            (b"PROXY TCP6 2001:db8:: ::1 1 2\r\n".to_vec(), Some("[2001:db8::]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), None),
            (v2(1, 0x11, &ip4), Some("203.0.113.7:8080")),
            (v2(1, 0x11, &more), Some("203.0.113.7:8080")),
            (v2(1, 0x21, &ip6), Some("[2001:db8::]:0")),
            (v2(0, 0x11, &ip4), None),
            (v2(0, 0, &[]), None),
        ] {
            let (read, left) = parse(&header).await.unwrap();
            assert_eq!((read, left), (source.map(|source| source.parse().unwrap()), 3), "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_early() {
        let mut long = v2(1, 0x11, &[0; 12]);
        long[14..16].copy_from_slice(&[0xff, 0xff]);
        for junk in [
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00\x00".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 300.0.113.7 127.0.0.1 8080 8443\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            b"PROXY".to_vec(),
            v2(1, 0x31, &[0; 216]),
            v2(7, 0x11, &[0; 12]),
            long,
        ] {
            assert!(parse(&junk).await.is_err(), "{junk:?}");
        }
    }
}
