//! The `file` store: one file per secret, below a directory.
//!
//! Every read opens the file by its path. So the gate follows the symlink swap with which Kubernetes updates a mounted
//! secret, and finds a file that was missing at the start.

use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use super::{ReadFuture, SecretStore, StoreError, StoredSecret, Write, WriteError, WriteFuture, file_write};
use crate::base::secret::Secret;

/// The largest file: far more than any token, and harmless.
const LARGEST: u64 = 64 << 10;

/// Files below a directory.
pub struct File {
    directory: PathBuf,
}

impl File {
    /// The files below `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The file of a reference, which must stay below the directory.
    fn place(&self, path: &str) -> Result<PathBuf, StoreError> {
        let below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !below {
            let text = format!("{path}: the file of a reference must be below the store's directory, without `..`");
            return Err(StoreError::Refused(text));
        }
        Ok(self.directory.join(path))
    }
}

impl SecretStore for File {
    fn read<'a>(&'a self, path: &'a str) -> ReadFuture<'a> {
        let path = self.place(path);
        Box::pin(async move {
            let path = path?;
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            read.unwrap_or_else(|_| Err(StoreError::Unavailable("the read was cancelled".into())))
        })
    }

    fn write<'a>(&'a self, write: Write<'a>) -> WriteFuture<'a> {
        let (path, value, before) = (self.place(write.path), write.value.clone(), write.before.to_owned());
        Box::pin(async move {
            let path = path?;
            let written = tokio::task::spawn_blocking(move || file_write::replace(&path, &value, &before)).await;
            let cancelled = |_| WriteError::Unknown(StoreError::Unavailable("the write was cancelled".into()));
            written.map_err(cancelled)?
        })
    }

    fn is_local(&self) -> bool {
        true
    }
}

pub(super) fn read(path: &Path) -> Result<StoredSecret, StoreError> {
    let failed = |error: std::io::Error| {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound => StoreError::Missing(text),
            ErrorKind::PermissionDenied => StoreError::Refused(text),
            // Not UTF-8; PowerShell's redirection writes such files.
            ErrorKind::InvalidData => StoreError::Unusable(text),
            _ => StoreError::Unavailable(text),
        }
    };
    // A pipe would block its reader for ever.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let created = metadata.modified().ok();
    if !metadata.is_file() {
        return Err(StoreError::Refused(format!("{}: not a regular file", path.display())));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    let length = file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    let value = Secret::new(text);
    if u64::try_from(length).is_ok_and(|length| length > LARGEST) {
        return Err(StoreError::Unusable(format!("{}: larger than {LARGEST} bytes", path.display())));
    }
    let version = StoredSecret::content_version(&value);
    Ok(StoredSecret { value, version, created, expires: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_beside_the_directory_is_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("below")).unwrap();
        std::fs::write(home.path().join("beside"), "canary").unwrap();
        std::fs::write(home.path().join("below/in"), "token").unwrap();
        let store = File::new(home.path().join("below"));
        let beside = home.path().join("beside");
        for path in ["../beside", "x/../../beside", beside.to_str().unwrap()] {
            assert!(matches!(store.read(path).await, Err(StoreError::Refused(_))), "{path}");
        }
        assert!(store.read("./in").await.is_ok());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_missing_file_comes_and_a_swapped_link_is_followed() {
        async fn read(store: &File) -> Result<String, StoreError> {
            store.read("data/token").await.map(|fetched| fetched.value.expose().to_owned())
        }

        let home = tempfile::tempdir().unwrap();
        let store = File::new(home.path().to_owned());
        assert!(matches!(read(&store).await, Err(StoreError::Missing(_))));
        for (version, value) in [("v1", "one"), ("v2", "two")] {
            // As Kubernetes does: make a new directory, then rename the link over the old one.
            std::fs::create_dir(home.path().join(version)).unwrap();
            std::fs::write(home.path().join(version).join("token"), value).unwrap();
            std::os::unix::fs::symlink(version, home.path().join("data.new")).unwrap();
            std::fs::rename(home.path().join("data.new"), home.path().join("data")).unwrap();
            assert_eq!(read(&store).await.unwrap(), value);
        }
        std::fs::write(home.path().join("v2/token"), vec![b'x'; 70_000]).unwrap();
        assert!(matches!(read(&store).await, Err(StoreError::Unusable(_))));
    }
}
