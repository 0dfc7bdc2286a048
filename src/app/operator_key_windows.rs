//! The operator's key, on Windows: a file that only administrators and the gate's account can read.
//!
//! A service account may not look at the programs of other users, so that the gate cannot tell by the connection that
//! an administrator asks. Each start writes a new key to a file that the gate's admin address names, and a command that
//! can read the file shows the key. An administrator who is not elevated cannot read it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;

use crate::base::clock::Random;
use crate::base::secret::Secret;
use crate::state::account::Account;
use crate::state::private::private_directory;

/// What shows that a command is an operator's.
#[derive(Clone)]
pub struct OperatorKey(Option<Arc<Secret>>);

impl OperatorKey {
    /// The header of a key.
    pub const HEADER: &str = "patgate-operator";

    /// Writes a new key for the gate at this address. Where it cannot, only the gate's own account and the system are
    /// operators.
    pub(super) fn publish(admin: SocketAddr, random: &dyn Random) -> Self {
        let written = written(admin, random).inspect_err(|error| {
            tracing::warn!(
                owner = "gate", cause = %error,
                next_step = "`patgate service install` makes the directory, and lets the gate's account write there",
                "the operator's key cannot be written: commands of administrators are refused"
            );
        });
        Self(written.ok().map(Arc::new))
    }

    /// Whether a request has it.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(Self::HEADER).and_then(|value| value.to_str().ok());
        let (Some(key), Some(shown)) = (&self.0, shown) else { return false };
        key.same_as(&Secret::new(shown.to_owned()))
    }

    /// The key of the gate at this address, where this process may read it.
    pub fn of(admin: SocketAddr) -> Option<Secret> {
        let text = std::fs::read_to_string(path(admin)?).ok()?;
        (!text.is_empty()).then(|| Secret::new(text))
    }
}

/// The directory of the keys, below the programs' common data, where everybody may make directories.
pub fn directory() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("ProgramData")?).join("patgate-operator"))
}

fn path(admin: SocketAddr) -> Option<PathBuf> {
    let name = format!("{}-{}.key", admin.ip().to_string().replace(':', "_"), admin.port());
    Some(directory()?.join(name))
}

fn written(admin: SocketAddr, random: &dyn Random) -> io::Result<Secret> {
    let path = path(admin).ok_or_else(|| io::Error::other("the variable ProgramData is not set"))?;
    let failed = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(io::Error::other)?;
    let key = Secret::new(hex::encode(bytes));
    private_directory(path.parent().unwrap_or(&path), &[&Account::own().map_err(failed)?.sid])?;
    // A new file, which inherits the directory's list; `service install` puts the service on that.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = std::fs::File::create_new(&path).map_err(failed)?;
    file.write_all(key.expose().as_bytes()).map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemRandom;

    #[test]
    fn who_can_read_the_file_shows_the_key_of_this_start() {
        let admin = "127.0.0.1:1".parse().unwrap();
        let (first, second) = (OperatorKey::publish(admin, &SystemRandom), OperatorKey::publish(admin, &SystemRandom));
        let shown = OperatorKey::of(admin).unwrap();
        let mut headers = HeaderMap::new();
        assert!(!second.is_shown(&headers));
        headers.insert(OperatorKey::HEADER, shown.expose().parse().unwrap());
        assert!(second.is_shown(&headers) && !first.is_shown(&headers) && !OperatorKey(None).is_shown(&headers));
        std::fs::remove_file(path(admin).unwrap()).unwrap();
        assert!(OperatorKey::of(admin).is_none());
    }
}
