//! Where the mount of a reference ends. A mount may have slashes (`team/bi/kv`), and a reference does not say where the
//! path in it begins.
//!
//! Vault's own command asks `sys/internal/ui/mounts/PATH`, which a token may ask that has any right below the mount
//! (`vault:command/kv_helpers.go`, kvPreflightVersionRequest). The gate takes the first segment first, as nearly all
//! mounts have one, asks only where nothing is found there, and remembers the answer.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Deserialize;

use super::{Login, StoreError, Vault, answered};

/// The length of the mount's name, by reference; only those that are longer than one segment.
#[derive(Default)]
pub(super) struct Mounts(Mutex<HashMap<String, usize>>);

impl Mounts {
    /// Mount and path of a reference, as far as they are known.
    pub(super) fn split<'a>(&self, path: &'a str) -> Result<(&'a str, &'a str), StoreError> {
        let known = self.0.lock().get(path).copied();
        let place = known.and_then(|length| Some((path.get(..length)?, path.get(length + 1..)?)));
        place
            .or_else(|| path.split_once('/'))
            .ok_or_else(|| StoreError::Refused("the reference needs MOUNT/PATH".into()))
    }

    fn learn(&self, path: &str, length: Option<usize>) {
        let mut known = self.0.lock();
        match length {
            Some(length) => known.insert(path.to_owned(), length),
            None => known.remove(path),
        };
    }
}

/// `{"data":{"path":"team/bi/kv/"}}`
#[derive(Deserialize)]
struct Envelope {
    data: Mount,
}

#[derive(Deserialize)]
struct Mount {
    path: String,
}

impl Vault {
    /// Asks where the mount of a reference ends; whether that is another place than the one that was taken.
    pub(super) async fn ask_mount(&self, login: &Login, path: &str) -> bool {
        // A mount and a path with one segment each leave no choice.
        if path.matches('/').count() < 2 {
            return false;
        }
        let before = self.mounts.split(path).map(|(mount, _)| mount.len());
        let place = ["sys", "internal", "ui", "mounts"].into_iter().chain(path.split('/'));
        let told = self.get(login, place).await.ok().and_then(|answer| answered::<Envelope>(&answer));
        let mount = told.map(|told| told.data.path);
        let mount = mount.as_deref().and_then(|mount| path.strip_prefix(mount.trim_end_matches('/')));
        let length = mount.filter(|rest| rest.starts_with('/')).map(|rest| path.len() - rest.len());
        self.mounts.learn(path, length.filter(|length| path[..*length].contains('/')));
        self.mounts.split(path).map(|(mount, _)| mount.len()).ok() != before.ok()
    }
}
