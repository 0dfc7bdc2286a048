//! Writes to Vault: KV v2 with check-and-set, KV v1 without.
//!
//! Facts: KV v2 takes `{"options":{"cas":N},"data":{…}}` at `MOUNT/data/PATH`, answers with the new version's metadata,
//! and with 400 "check-and-set parameter did not match the current version" where N is not the current one; the policy
//! needs `create` or `update` there (HashiCorp, "KV secrets engine v2 (API)").

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::super::login::with_login;
use super::super::write::{Write, WriteError};
use super::{Denied, Login, Metadata, StoreError, StoredSecret, Vault, answered, denied};

/// What Vault says of a version that is not the current one.
const MISMATCH: &str = "check-and-set parameter did not match";

#[derive(Deserialize)]
struct Written {
    data: Metadata,
}

impl Vault {
    pub(super) async fn write_secret(&self, write: Write<'_>) -> Result<String, WriteError> {
        // The read just before has found the mount.
        let (mount, path) = self.mounts.split(write.path)?;
        let refused =
            |failed: &Failed| matches!(failed, Failed::Denied(it) if it.status == Some(StatusCode::FORBIDDEN));
        // The read just before has shown that the login is good: 403 is about the right to write, but for a token that
        // ended meanwhile.
        let written = with_login!(self, login => self.write_kv(&login, (mount, path), write), unless refused);
        let right =
            || format!("a policy with `create` and `update` on {mount}/data/{path}, or {mount}/{path} for KV v1");
        written.map_err(|failed| {
            let forbidden = refused(&failed);
            let told = failed.told();
            if forbidden { told.without_right(&right()) } else { told }
        })
    }

    async fn write_kv(&self, login: &Login, (mount, path): (&str, &str), write: Write<'_>) -> Result<String, Failed> {
        let value = write.value.expose();
        match write.before.strip_prefix('v').and_then(|number| number.parse::<u64>().ok()) {
            Some(number) => {
                let body = format!(r#"{{"options":{{"cas":{number}}},"data":{value}}}"#);
                let place = mount.split('/').chain(["data"]).chain(path.split('/'));
                let answer = self.send(login, Method::POST, place, Bytes::from(body)).await?;
                let written = answered::<Written>(&answer).filter(|_| answer.status().is_success());
                match written {
                    Some(written) => Ok(format!("v{}", written.data.version)),
                    None if answer.status().is_success() => {
                        let text = "Vault's answer to the write holds no version".to_owned();
                        Err(Failed::Write(WriteError::Unknown(StoreError::Unavailable(text))))
                    }
                    None => Err(Failed::Denied(denied(&answer))),
                }
            }
            None => {
                let place = mount.split('/').chain(path.split('/'));
                let answer = self.send(login, Method::POST, place, Bytes::from(value.to_owned())).await?;
                if !answer.status().is_success() {
                    return Err(Failed::Denied(denied(&answer)));
                }
                // Vault may write the members in another order, so that only a read knows the version's name.
                let read: Result<StoredSecret, Denied> = self.read_v1(login, mount, path).await;
                read.map(|read| read.version).map_err(|it| Failed::Write(WriteError::Unknown(it.error)))
            }
        }
    }
}

/// A write without a new version.
enum Failed {
    Denied(Denied),
    Write(WriteError),
}

impl Failed {
    fn told(self) -> WriteError {
        match self {
            Self::Denied(it) if it.error.to_string().contains(MISMATCH) => {
                WriteError::Changed("Vault has a newer version than the one that was read: nothing was written".into())
            }
            Self::Denied(it) => WriteError::sent(it.error),
            Self::Write(error) => error,
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Write(WriteError::sent(error))
    }
}

#[cfg(test)]
#[path = "vault_write_tests.rs"]
mod tests;
