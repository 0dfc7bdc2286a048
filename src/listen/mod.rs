//! From a socket to a request.
//!
//! The acceptor runs on the control runtime and hands each connection to the worker that holds the fewest. A worker is
//! a thread with a single-threaded runtime and connections of its own; from the handshake to the last byte a connection
//! never leaves it.

mod accept;
mod connection;
#[cfg_attr(unix, path = "peer_user_unix.rs")]
#[cfg_attr(windows, path = "peer_user_windows.rs")]
mod peer_user;
mod proxy_header;
mod slot;
mod watched_stream;
mod worker;

pub use accept::{Acceptor, bind};
pub use connection::ListenerState;
pub use worker::Workers;
