//! The user of a local peer's socket, on Windows: the system's table of connections has the process of each
//! (`GetExtendedTcpTable`), and a process has an account. A service that runs as an account of its own shows it by the
//! service manager; a program of another user shows its account to administrators alone, so that a gate with a service
//! account sees services and the programs of its own account, and refuses other users' programs.
#![expect(unsafe_code, reason = "no safe crate that is kept reads the table of connections with their processes")]

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{GetExtendedTcpTable, TCP_TABLE_OWNER_PID_CONNECTIONS};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

use crate::admit::LocalUser;
use crate::state::account::Account;

/// `MIB_TCP_STATE_ESTAB` (Win32, MIB_TCPROW).
const ESTABLISHED: u32 = 5;

/// The user of the socket at `peer` that is connected to `ours`.
pub fn of(peer: SocketAddr, ours: SocketAddr) -> Option<LocalUser> {
    let process = process_of(peer, ours)?;
    let account = Account::of_process(process)?;
    // A process that still has the connection is the one whose account was read: its number is nobody else's meanwhile.
    (process_of(peer, ours) == Some(process)).then(|| named(account))
}

/// An account as a user, in lower case: Windows does not tell cases apart.
pub fn named(account: Account) -> LocalUser {
    LocalUser { id: account.sid.to_lowercase(), name: account.name.map(|name| name.to_lowercase()) }
}

/// The process that has the connection from `from` to `to`.
fn process_of(from: SocketAddr, to: SocketAddr) -> Option<u32> {
    // An IPv4 client of an IPv6 listener has its socket in the IPv4 table, unless it speaks IPv6 itself.
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (from, to) = (canonical(from), canonical(to));
    let of4 = || table(AF_INET).chunks_exact(6).find_map(|row| row4(row).filter(|one| (one.0, one.1) == (from, to)));
    let (from6, to6) = (mapped(from), mapped(to));
    let of6 =
        || table(AF_INET6).chunks_exact(14).find_map(|row| row6(row).filter(|one| (one.0, one.1) == (from6, to6)));
    let found = if from.is_ipv4() { of4().or_else(of6) } else { of6() };
    found.map(|(_, _, process)| process)
}

/// A connection with its process: both ends, the other one second.
type Row = (SocketAddr, SocketAddr, u32);

/// `MIB_TCPROW_OWNER_PID`: state, local address and port, remote address and port, process.
fn row4(row: &[u32]) -> Option<Row> {
    let &[ESTABLISHED, local, local_port, remote, remote_port, process] = row else { return None };
    let at = |ip: u32, word| SocketAddr::new(Ipv4Addr::from(ip.to_ne_bytes()).into(), port(word));
    Some((at(local, local_port), at(remote, remote_port), process))
}

/// `MIB_TCP6ROW_OWNER_PID`: local address, scope and port, remote address, scope and port, state, process.
fn row6(row: &[u32]) -> Option<Row> {
    let &[a, b, c, d, _, local_port, e, f, g, h, _, remote_port, ESTABLISHED, process] = row else { return None };
    let at = |words: [u32; 4], word| {
        let mut bytes = [0; 16];
        bytes.chunks_exact_mut(4).zip(words).for_each(|(four, word)| four.copy_from_slice(&word.to_ne_bytes()));
        SocketAddr::new(Ipv6Addr::from(bytes).into(), port(word))
    };
    Some((at([a, b, c, d], local_port), at([e, f, g, h], remote_port), process))
}

/// A port: the first two bytes of the word, in network byte order.
fn port(word: u32) -> u16 {
    let [high, low, ..] = word.to_ne_bytes();
    u16::from_be_bytes([high, low])
}

/// The words of the rows of a table; none if it cannot be read.
fn table(family: u16) -> Vec<u32> {
    let mut size = 0_u32;
    // The table may grow between the question for its length and that for itself.
    for _ in 0..8 {
        let mut words = vec![0_u32; (size as usize).div_ceil(4)];
        // SAFETY: the buffer has the length that is passed, and is aligned for the words that the rows consist of.
        let code = unsafe {
            GetExtendedTcpTable(
                words.as_mut_ptr().cast::<c_void>(),
                &mut size,
                0,
                family.into(),
                TCP_TABLE_OWNER_PID_CONNECTIONS,
                0,
            )
        };
        match code {
            NO_ERROR => {
                let count = words.first().map_or(0, |count| *count as usize);
                let width = if family == AF_INET { 6 } else { 14 };
                return words.into_iter().skip(1).take(count * width).collect();
            }
            ERROR_INSUFFICIENT_BUFFER => size += 4096,
            _ => break,
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_sockets_are_ours() {
        let own = named(Account::own().unwrap());
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (peer, ours) = (client.local_addr().unwrap(), listener.local_addr().unwrap());
            // Wine finds the connection, and says 0 of the process of each.
            let process = process_of(peer, ours).unwrap();
            assert!([0, std::process::id()].contains(&process), "{address}: {process}");
            assert_eq!(of(peer, ours), (process != 0).then(|| own.clone()), "{address}");
            assert_eq!(of(SocketAddr::new(peer.ip(), 1), ours), None);
        }
    }

    #[test]
    fn rows_are_read_as_the_system_lays_them_out() {
        let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
        let row = [5, word([127, 0, 0, 1]), word([0x1f, 0x90, 0, 0]), word([10, 0, 0, 7]), word([0, 80, 0, 0]), 42];
        let (from, to) = ("127.0.0.1:8080".parse().unwrap(), "10.0.0.7:80".parse().unwrap());
        assert_eq!(row4(&row), Some((from, to, 42)));
        assert_eq!(row4(&[2, row[1], row[2], row[3], row[4], 42]), None, "one that is not established");
        let one = word([0, 0, 0, 1]);
        let row = [0, 0, 0, one, 0, word([0x1f, 0x90, 0, 0]), 0, 0, 0, one, 0, word([0, 80, 0, 0]), 5, 42];
        let (from, to) = ("[::1]:8080".parse().unwrap(), "[::1]:80".parse().unwrap());
        assert_eq!(row6(&row), Some((from, to, 42)));
    }
}
