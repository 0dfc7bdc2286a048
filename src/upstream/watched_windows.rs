//! How the system watches a connection, on Windows: it asks a quiet one ten times whether the other side is still
//! there, a number that Windows Server 2016 cannot change (`TCP_KEEPCNT` came later). It retransmits data five times,
//! which takes some 20 s, and has no limit for one connection in the crates that the gate uses.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Sets the times: of quiet, and between two questions.
pub(super) fn watch(socket: &SockRef<'_>, quiet: Duration, again: Duration, _unanswered: Duration) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(quiet).with_interval(again))
}
