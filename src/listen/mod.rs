//! Listeners, connections and workers.
//!
//! The acceptor runs on the control runtime and gives each connection to the worker with the fewest connections. A
//! worker is a thread with a single-threaded runtime; a connection stays on its worker from the handshake to the last
//! byte.

mod accept;
mod connection;
#[cfg_attr(unix, path = "peer_user_unix.rs")]
#[cfg_attr(windows, path = "peer_user_windows.rs")]
pub mod peer_user;
mod proxy_header;
mod proxy_way;
mod rewound;
mod slot;
mod state;
mod tunnels;
mod unadmitted;
mod watched_stream;
mod worker;

pub use accept::{Acceptor, bind};
pub use state::{ConnectState, Host, ListenerState};
pub use tunnels::Tunnels;
pub use unadmitted::Unadmitted;
pub use worker::Workers;
