//! How the system watches a connection, on Unix: it asks a quiet one whether the other side is still there, and gives
//! up one whose data nobody acknowledges (tcp(7), `TCP_KEEPCNT`, `TCP_USER_TIMEOUT`).

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How often it asks before it gives up.
const RETRIES: u32 = 3;

/// Sets the times: of quiet, between two questions, and without an acknowledgement.
pub(super) fn watch(socket: &SockRef<'_>, quiet: Duration, again: Duration, unanswered: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(quiet).with_interval(again).with_retries(RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(unanswered))
}
