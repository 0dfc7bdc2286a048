//! The `env` store: one environment variable per secret. It cannot change while the process runs.

use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteFuture};
use crate::base::secret::Secret;

/// Environment variables.
pub struct Env;

impl SecretStore for Env {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        let read = match std::env::var(path) {
            Ok(text) => {
                let value = Secret::new(text);
                let version = StoredSecret::content_version(&value);
                Ok(StoredSecret { value, version, created: None, expires: None })
            }
            Err(_) => Err(StoreError::Missing(format!("the environment variable {path} is not set, or is not UTF-8"))),
        };
        Box::pin(std::future::ready(read))
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        let text = format!("the environment variable {} cannot be written: use another store", write.path);
        Box::pin(std::future::ready(Err(StoreError::Refused(text).into())))
    }
}
