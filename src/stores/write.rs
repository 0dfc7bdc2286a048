//! Writes a new value of a secret, in place of the version that was read.
//!
//! | store | only if the version is still the one that was read |
//! |---|---|
//! | `vault`, KV v2 | by Vault, with `cas` |
//! | `aws` | by Secrets Manager: the label `AWSCURRENT` moves from that version to the new one |
//! | `vault`, KV v1; `azure`, `gcp`, `file` | by a read just before; another writer in the same moment is not noticed |
//!
//! An `env` store cannot be written. A write without an answer may have been carried out: the caller reads back.

use std::future::Future;
use std::pin::Pin;

use super::{Resolver, StoreError, StoredSecret, value};
use crate::base::names::SecretRef;
use crate::base::secret::Secret;

/// What to write.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The store's name of the secret.
    pub path: &'a str,
    /// The whole new value.
    pub value: &'a Secret,
    /// The version that it replaces, as [`super::SecretStore::read`] names it.
    pub before: &'a str,
}

/// Why a new value is not known to be in the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The store still has what it had.
    #[error("{0}")]
    NotWritten(StoreError),
    /// The store has another version than the one that was read.
    #[error("{0}")]
    Changed(String),
    /// It may have been written.
    #[error("the write was not answered, and may have been carried out: {0}")]
    Unknown(StoreError),
}

impl WriteError {
    /// The error of a request that was sent: what may pass may also have been carried out, and so may one whose answer
    /// cannot be read.
    #[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
    pub(super) fn sent(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Throttled(..) | StoreError::Unusable(_) => Self::Unknown(error),
            StoreError::Refused(_) | StoreError::Login(_) | StoreError::OwnSecret(_) | StoreError::Missing(_) => {
                Self::NotWritten(error)
            }
        }
    }

    /// The same, of a refusal that is about rights: which one is missing.
    #[cfg(any(feature = "vault", feature = "aws", feature = "azure", feature = "gcp"))]
    pub(super) fn without_right(self, right: &str) -> Self {
        match self {
            Self::NotWritten(StoreError::Refused(text)) => {
                Self::NotWritten(StoreError::Refused(format!("{text}; to write, the gate needs {right}")))
            }
            other => other,
        }
    }

    /// Another version is there.
    pub(super) fn changed(before: &str, now: &str) -> Self {
        Self::Changed(format!("the store has version {now} in place of {before}, which was read: nothing was written"))
    }
}

impl From<StoreError> for WriteError {
    /// The error before anything was sent.
    fn from(error: StoreError) -> Self {
        Self::NotWritten(error)
    }
}

/// The name of the new version, as a read would give it.
pub type WriteFuture<'a> = Pin<Box<dyn Future<Output = Result<String, WriteError>> + Send + 'a>>;

impl Resolver {
    /// Writes a new token to a reference, and keeps the other members of the same secret. `before` is the version that
    /// was read; the result is the new one, as a read would name it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(&self, reference: &SecretRef, token: &Secret, before: &str) -> Result<String, WriteError> {
        let (store, permits) = self.store(reference)?;
        let _permit = permits.acquire().await;
        let late = |_| StoreError::Unavailable("no answer in time".into());
        let read = tokio::time::timeout(self.timeout(), store.read(&reference.path)).await.map_err(late)?;
        let StoredSecret { value: old, version, .. } = read?;
        if version != before {
            return Err(WriteError::changed(before, &version));
        }
        let value = value::replaced(&old, reference.field.as_deref(), token)?;
        let write = Write { path: &reference.path, value: &value, before };
        let late = |_| WriteError::Unknown(StoreError::Unavailable("no answer in time".into()));
        tokio::time::timeout(self.timeout(), store.write(write)).await.map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{SecretStore, Stores};
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::names::{LoginRefs, SecretRefs};

    #[tokio::test]
    async fn a_token_is_written_into_its_member_and_read_back_by_its_version() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("bi.json"), r#"{"token":"tok-1","key":"canary"}"#).unwrap();
        let file: Arc<dyn SecretStore> = Arc::new(super::super::file::File::new(home.path().to_owned()));
        let stores = Stores::from([("f".into(), file)]);
        let resolver = Resolver::new(stores, Duration::from_secs(5), Arc::new(SystemClock), Arc::default());
        let reference = SecretRef::parse("f:bi.json#token").unwrap();
        let login = LoginRefs::Pat(SecretRefs::new(vec![reference.clone()]).unwrap());
        let read = async || resolver.read(&login, &reference).await.unwrap();
        let (first, token) = (read().await.version, Secret::new("tok-2".into()));
        let second = resolver.write(&reference, &token, &first).await.unwrap();
        let back = read().await;
        assert_eq!((back.version, back.secret.pat().unwrap().expose()), (second, "tok-2"));
        let whole = std::fs::read_to_string(home.path().join("bi.json")).unwrap();
        assert_eq!(whole, r#"{"token":"tok-2","key":"canary"}"#);
        let stale = resolver.write(&reference, &token, &first).await.unwrap_err();
        assert!(matches!(&stale, WriteError::Changed(text) if !text.contains("tok") && !text.contains("canary")));
        let write = Write { path: "PAT", value: &token, before: "" };
        let refused = super::super::env::Env.write(write).await.unwrap_err();
        assert!(refused.to_string().contains("cannot be written"), "{refused}");
    }

    #[test]
    #[cfg(feature = "vault")]
    fn what_may_have_been_carried_out_is_not_said_to_have_failed() {
        let refused = WriteError::sent(StoreError::Refused("403".into())).without_right("to set secrets");
        assert_eq!(refused.to_string(), "403; to write, the gate needs to set secrets");
        let lost = WriteError::sent(StoreError::Unavailable("the connection broke".into())).without_right("x");
        assert!(matches!(&lost, WriteError::Unknown(_)) && lost.to_string().contains("may have been carried out"));
    }
}
