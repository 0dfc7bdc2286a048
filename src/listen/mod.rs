//! From a socket to a request.
//!
//! The acceptor runs on the control runtime and hands each connection to the worker that holds the fewest. A worker is a
//! thread with a single-threaded runtime and connections of its own; from the handshake to the last byte a connection never
//! leaves it.

mod accept;
mod connection;
mod guard;
mod held;
#[cfg_attr(unix, path = "owner_unix.rs")]
#[cfg_attr(windows, path = "owner_windows.rs")]
mod owner;
mod proxy_header;
mod worker;

pub use accept::{Acceptor, bind};
pub use connection::Door;
pub use worker::Workers;
