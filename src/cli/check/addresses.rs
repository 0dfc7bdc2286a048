//! The addresses of the file: does this machine have them, and can the socket's file be made? Whether the port is free
//! only a start knows, since a gate may run.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::finding::Finding;
use crate::config::{Config, Listen};

/// Looks at each.
pub(super) fn inspect(config: &Config, found: &mut Vec<Finding>) {
    for listen in config.all_listeners() {
        let key = match &*listen.name {
            Listen::MAIN => "listen.address".to_owned(),
            name => format!("listeners.{name}.address"),
        };
        address(&key, listen.address, found);
    }
    address("admin.address", config.admin.address, found);
    if let Some(health) = config.health {
        address("health.address", health, found);
    }
    if let Some(socket) = &config.admin.socket {
        directory(socket, found);
    }
}

fn address(key: &str, address: SocketAddr, found: &mut Vec<Finding>) {
    // Any port: the one of the file may be in use by the gate itself.
    if let Err(error) = TcpListener::bind(SocketAddr::new(address.ip(), 0)) {
        let what = format!("{} is no address of this machine: {error}", address.ip());
        found.push(Finding::error(key, what, "Write one that it has, or 0.0.0.0"));
    }
}

fn directory(socket: &Path, found: &mut Vec<Finding>) {
    let parent = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let what = format!("there is no directory {}", parent.display());
        found.push(Finding::error("admin.socket", what, "Make it, writable for the gate's user alone"));
    }
}
