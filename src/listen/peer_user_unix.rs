//! The user of a local peer's socket, on Linux. `/proc/net/tcp` has the user of each socket (proc_net_tcp, kernel
//! documentation), as the user namespace of this process sees it: under systemd's `PrivateUsers=` all other users look
//! the same. Other Unix systems have no such file; there the gate finds no user, and refuses clients with `users`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

use crate::admit::LocalUser;

/// The table of IPv6 sockets.
const TCP6: &str = "/proc/self/net/tcp6";
/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";

/// The user of the socket at `peer` that is connected to `ours`.
pub fn of(peer: SocketAddr, ours: SocketAddr) -> Option<LocalUser> {
    // An IPv4 client of an IPv6 listener has its socket in the IPv4 table.
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (peer, ours) = (canonical(peer), canonical(ours));
    let id = match peer.is_ipv4() {
        // A client with a socket for both families, as Java's are, has it in the IPv6 table.
        true => find("/proc/self/net/tcp", peer, ours).or_else(|| find(TCP6, mapped(peer), mapped(ours))),
        false => find(TCP6, peer, ours),
    }?;
    Some(named(id))
}

/// The user of a connection in a table.
fn find(table: &str, peer: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let lines = BufReader::new(File::open(table).ok()?).lines();
    lines.map_while(Result::ok).find_map(|line| user_in(&line, peer, ours))
}

/// An IPv4 address as an IPv6 socket has it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// A user by its number.
pub fn named(id: u32) -> LocalUser {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(id));
    LocalUser { id: id.to_string(), name: user.ok().flatten().map(|user| user.name) }
}

/// The user in a line of the table, if the line is for that connection.
fn user_in(line: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace();
    let (from, to, state) = (columns.nth(1)?, columns.next()?, columns.next()?);
    // A closed socket has no owner; the table shows it as user 0.
    (from == shown(local) && to == shown(remote) && state == ESTABLISHED).then(|| columns.nth(3)?.parse().ok())?
}

/// An address in the form of the table: the words of the address in the machine's byte order, then the port.
fn shown(address: SocketAddr) -> String {
    let word = |bytes: &[u8]| format!("{:08X}", u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let ip: String = match address.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn our_own_sockets_are_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (peer, ours) = (client.local_addr().unwrap(), listener.local_addr().unwrap());
            let user = of(peer, ours).unwrap();
            assert_eq!(user.id, nix::unistd::getuid().to_string());
            assert!(of(ours, peer).is_none() || of(ours, peer) == Some(user), "the accepted end may be listed too");
            client.shutdown(std::net::Shutdown::Both).unwrap();
            assert_eq!(of(peer, ours), None, "one that is closing is nobody's");
        }
    }

    #[test]
    fn a_socket_for_both_families_is_found_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let Ok(client) = std::net::TcpStream::connect(mapped(ours)) else { return };
        let peer = client.local_addr().unwrap();
        assert!(peer.is_ipv6());
        let seen = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        assert_eq!(of(seen, ours).unwrap().id, nix::unistd::getuid().to_string());
    }
}
