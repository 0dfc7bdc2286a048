//! Linux gives up a connection whose data nobody acknowledges (tcp(7), `TCP_USER_TIMEOUT`).

use std::io;
use std::time::Duration;

use socket2::SockRef;

pub(super) fn limit(socket: &SockRef<'_>, time: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(time))
}
