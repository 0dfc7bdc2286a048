//! Who sends a request to the admin address, on Windows: the gate cannot tell users apart there, so that every local
//! user is the operator. Keep other users off the machine.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpStream;

/// The other end of an admin connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    /// Over TCP.
    Tcp,
}

impl Caller {
    /// The other end of a TCP connection.
    ///
    /// # Errors
    /// Never.
    pub(super) fn tcp(_stream: &TcpStream, _peer: SocketAddr) -> io::Result<Self> {
        Ok(Self::Tcp)
    }

    /// Whether it may use the operator's commands: always.
    ///
    /// # Errors
    /// Never.
    pub(super) async fn may_operate(self, _users: &[String]) -> Result<String, String> {
        let Self::Tcp = self;
        Ok("a local user".to_owned())
    }
}

/// Windows has none.
pub(super) enum AdminSocket {}

impl AdminSocket {
    /// Makes none; the configuration's check refuses `admin.socket` here.
    ///
    /// # Errors
    /// Always.
    pub(super) fn bind(_path: &Path) -> io::Result<Self> {
        Err(io::Error::other("admin.socket needs a Unix system"))
    }

    /// There is none to accept on.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, Caller)> {
        match *self {}
    }
}
