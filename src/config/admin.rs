//! `[admin]` and `[health]`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::Admin;
use super::entries::{LOCAL_USER, local_user};
use super::read::Section;

/// The address where the file names none.
const USUAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8444));

impl Default for Admin {
    fn default() -> Self {
        Self { address: USUAL, socket: None, users: Vec::new() }
    }
}

/// `[admin]`, or its defaults.
pub(super) fn admin(section: Option<Section<'_>>) -> Admin {
    let Some(section) = section else { return Admin::default() };
    let wanted = "a loopback address and a port, such as \"127.0.0.1:8444\"";
    let local = |text: &str| text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    let address = section.parsed("address", wanted, local).map_or(USUAL, |found| found.value);
    let socket = section.path("socket");
    let users = section.list("users", LOCAL_USER, local_user);
    if let Some(socket) = socket.as_ref().filter(|_| cfg!(windows)) {
        section.error_at(&socket.span, "socket", "it needs a Unix system", "Remove it");
    }
    section.finish();
    Admin { address, socket: socket.map(|found| found.value), users: users.map_or_else(Vec::new, |found| found.value) }
}

/// `[health]`.
pub(super) fn health(section: Option<Section<'_>>) -> Option<SocketAddr> {
    let section = section?;
    let wanted = "an address and a port, such as \"0.0.0.0:8445\"";
    let address = section.required_parsed("address", wanted, |text| text.parse().ok());
    section.finish();
    address.map(|found| found.value)
}
