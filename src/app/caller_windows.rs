//! Who sends a request to the admin address, on Windows: the operator is the system, the gate's own account, a user
//! that `admin.users` names, or who shows the operator's key.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpStream;

use crate::admit::LocalUser;
use crate::listen::peer_user;
use crate::state::account::{Account, SYSTEM};

/// The other end of an admin connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    /// Over TCP: its address and the gate's.
    Tcp(SocketAddr, SocketAddr),
}

impl Caller {
    /// The other end of a TCP connection.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) fn tcp(stream: &TcpStream, peer: SocketAddr) -> io::Result<Self> {
        Ok(Self::Tcp(peer, stream.local_addr()?))
    }

    /// Whether it may use the operator's commands; the user's name, for the audit log.
    ///
    /// # Errors
    /// The text for it.
    pub(super) async fn may_operate(self, users: &[String]) -> Result<String, String> {
        let Self::Tcp(peer, ours) = self;
        // The table of connections and that of processes may be long.
        let look = move || Some((peer_user::of(peer, ours)?, peer_user::named(Account::own().ok()?)));
        match tokio::task::spawn_blocking(look).await.ok().flatten() {
            Some((user, own)) if is_operator(&user, &own, users) => Ok(user.shown().to_owned()),
            Some((user, _)) => Err(format!(
                "user {} is not an operator of this gate: that is an administrator (in an elevated prompt), the gate's \
                 own account, or a user in admin.users",
                user.shown()
            )),
            None => Err("the gate cannot tell which user asks; run the command as an administrator, in an elevated \
                         prompt"
                .to_owned()),
        }
    }
}

fn is_operator(user: &LocalUser, own: &LocalUser, users: &[String]) -> bool {
    user.id.eq_ignore_ascii_case(SYSTEM) || user.id == own.id || users.iter().any(|meant| user.is(meant))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_the_gate_s_own_account_and_those_named_are_operators() {
        let user = |sid: &str, name: &str| LocalUser { id: sid.to_owned(), name: Some(name.to_owned()) };
        let own = user("s-1-5-80-1", r"nt service\patgate");
        let users = [r"corp\ops".to_owned(), "s-1-5-21-7".to_owned()];
        for (who, wanted) in [
            (user("s-1-5-18", r"nt authority\system"), true),
            (own.clone(), true),
            (user("s-1-5-21-6", r"corp\ops"), true),
            (user("s-1-5-21-7", r"corp\other"), true),
            (user("s-1-5-21-8", r"other\ops"), false),
        ] {
            assert_eq!(is_operator(&who, &own, &users), wanted, "{who:?}");
        }
    }
}
