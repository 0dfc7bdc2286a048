//! Windows retransmits data five times, which takes some 20 s, and has no limit for one connection in the crates that
//! the gate uses.

use std::io;
use std::time::Duration;

use socket2::SockRef;

pub(super) fn limit(_socket: &SockRef<'_>, _time: Duration) -> io::Result<()> {
    Ok(())
}
