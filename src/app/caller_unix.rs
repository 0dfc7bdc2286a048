//! Who sends a request to the admin address, on Linux: [`Caller`], and the Unix socket that the operator may use.
//!
//! The operator is root, the gate's own user, or a user that `admin.users` names, by the owner of the other end of the
//! connection. Other Unix systems do not show the owner of a TCP connection, so there the commands need `admin.socket`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixListener, UnixSocket, UnixStream};

use crate::admit::LocalUser;
use crate::listen::peer_user;

/// The other end of an admin connection.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Over TCP: its address, the gate's, and the gate's end, which shows whether it still lives.
    Tcp(SocketAddr, SocketAddr, Arc<OwnedFd>),
    /// Over the Unix socket: its user.
    Local(u32),
}

impl Caller {
    /// The other end of a TCP connection.
    ///
    /// # Errors
    /// If this machine has no descriptor left.
    pub(super) fn tcp(stream: &TcpStream, peer: SocketAddr) -> io::Result<Self> {
        Ok(Self::Tcp(peer, stream.local_addr()?, Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    /// Whether it may use the operator's commands; the user's name, for the audit log.
    ///
    /// # Errors
    /// The text for it.
    pub(super) async fn may_operate(self, users: &[String]) -> Result<String, String> {
        // The table of connections and that of users may be long.
        let user = tokio::task::spawn_blocking(move || self.user()).await.ok().flatten();
        let own = nix::unistd::geteuid().to_string();
        match user {
            Some(user) if is_operator(&user, &own, users) => Ok(user.shown().to_owned()),
            Some(user) => Err(format!(
                "user {} is not an operator of this gate: that is root, the gate's own user, or a user in admin.users",
                user.shown()
            )),
            None => Err("the gate cannot tell which user asks; use the socket that admin.socket names".to_owned()),
        }
    }

    fn user(self) -> Option<LocalUser> {
        match self {
            Self::Tcp(peer, ours, socket) => {
                let user = peer_user::of(peer, ours)?;
                // Its port is nobody else's while this end lives; after a reset the table may show another user there.
                SockRef::from(&*socket).peer_addr().ok().map(|_alive| user)
            }
            Self::Local(id) => Some(peer_user::named(id)),
        }
    }
}

fn is_operator(user: &LocalUser, own: &str, users: &[String]) -> bool {
    user.id == "0" || user.id == own || users.iter().any(|meant| user.is(meant))
}

/// The operator's Unix socket, which only the gate's own user and root can open.
pub(super) struct AdminSocket(UnixListener);

impl AdminSocket {
    /// Makes the socket; it replaces that of an earlier gate, but no other file.
    ///
    /// # Errors
    /// The operating system's error, with the path in the text.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot make the socket {}: {error}", path.display()))
        };
        Self::bind_new(path).map(Self).map_err(failed)
    }

    fn bind_new(path: &Path) -> io::Result<UnixListener> {
        if std::fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(io::Error::other("there is a file of that name that is no socket"));
        }
        // Nobody can connect before it listens, and then its mode is right. The name changes in one step, so that an
        // earlier gate serves until this one does.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let _left_behind = std::fs::remove_file(&new);
        let socket = UnixSocket::new_stream()?;
        socket.bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        let listener = socket.listen(64)?;
        std::fs::rename(&new, path)?;
        Ok(listener)
    }

    /// The next connection, and who made it.
    pub(super) async fn accept(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.0.accept().await?;
        let caller = Caller::Local(stream.peer_cred()?.uid());
        Ok((stream, caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_gate_s_own_user_and_those_named_are_operators() {
        let user = |id: u32, name: Option<&str>| LocalUser { id: id.to_string(), name: name.map(str::to_owned) };
        let users = ["ops".to_owned(), "1007".to_owned()];
        for (who, wanted) in [
            (user(0, Some("root")), true),
            (user(998, Some("patgate")), true),
            (user(1000, Some("ops")), true),
            (user(1007, None), true),
            (user(1001, Some("someone")), false),
            (user(65534, Some("nobody")), false),
            (user(1002, None), false),
        ] {
            assert_eq!(is_operator(&who, "998", &users), wanted, "{who:?}");
        }
        assert!(!is_operator(&user(1000, Some("ops")), "998", &[]));
    }

    #[tokio::test]
    async fn the_socket_is_private_replaces_a_socket_and_no_other_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("admin.sock");
        let first = AdminSocket::bind(&path).unwrap();
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (_ours, accepted) = tokio::join!(UnixStream::connect(&path), socket.accept());
        assert!(matches!(accepted.unwrap().1, Caller::Local(id) if id == nix::unistd::geteuid().as_raw()));
        drop(first);
        std::fs::write(home.path().join("file"), "kept").unwrap();
        assert!(AdminSocket::bind(&home.path().join("file")).is_err());
        assert_eq!(std::fs::read_to_string(home.path().join("file")).unwrap(), "kept");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    }
}
