//! The gate's own secrets, for logins to stores and for sealing.

#[cfg_attr(unix, path = "dpapi_unix.rs")]
#[cfg_attr(windows, path = "dpapi_windows.rs")]
mod dpapi;

use std::io;

use super::StoreError;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::config::SecretSource;
#[cfg(windows)]
pub use dpapi::protected;

/// Where systemd puts a unit's credentials (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Reads a secret of the gate, again at each call. A file that hangs does not block other work.
///
/// # Errors
/// [`StoreError`], which names the source.
#[cfg(any(feature = "vault", feature = "azure", feature = "gcp"))]
pub async fn load(source: &SecretSource) -> Result<Secret, StoreError> {
    let source = source.clone();
    let read = tokio::task::spawn_blocking(move || load_now(&source)).await;
    read.unwrap_or_else(|_| Err(StoreError::Unavailable("the read was cancelled".into())))
}

/// The same, blocking, for the start of the process.
///
/// # Errors
/// [`StoreError`], which names the source.
pub fn load_now(source: &SecretSource) -> Result<Secret, StoreError> {
    let variable = |name: &str| {
        std::env::var(name)
            .map_err(|_| StoreError::OwnSecret(format!("the environment variable {name} is not set, or is not UTF-8")))
    };
    let file = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .map_err(|error: io::Error| StoreError::OwnSecret(format!("{}: {error}", path.display())))
    };
    let text = match source {
        SecretSource::Protected(path) => {
            let failed = |error: io::Error| StoreError::OwnSecret(format!("{}: {error}", path.display()));
            dpapi::unprotected(&std::fs::read(path).map_err(failed)?).map_err(failed)?
        }
        SecretSource::File(path) => file(path)?,
        SecretSource::Env(name) => variable(name)?,
        SecretSource::Credential(name) => file(&std::path::Path::new(&variable(CREDENTIALS)?).join(name))?,
    };
    Ok(Secret::new(bare(&text).to_owned()))
}
