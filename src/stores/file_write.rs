//! Replaces a file of the `file` store: a new file beside it, with the same rights and owner, synchronised and renamed.
//! Whoever reads sees the old content or the new one, also after a power failure.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use super::file::read;
use super::write::WriteError;
use super::{StoreError, StoredSecret};
use crate::base::secret::Secret;
use crate::state::private;

/// Writes a new value in place of the version that was read.
pub(super) fn replace(path: &Path, value: &Secret, before: &str) -> Result<String, WriteError> {
    let now = read(path)?.version;
    if now != before {
        return Err(WriteError::changed(before, &now));
    }
    // A link stays a link: what it points to is replaced.
    let target = path.canonicalize().map_err(|error| failed(path, &error))?;
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(StoreError::Refused(format!("{}: not a file in a directory", path.display())).into());
    };
    let new = directory.join(format!(".{}.new", name.to_string_lossy()));
    written(&new, &target, value).map_err(|error| failed(&new, &error))?;
    if let Err(error) = private::rename(&new, &target) {
        // It holds the secret.
        let _gone = std::fs::remove_file(&new);
        return Err(failed(&target, &error).into());
    }
    private::sync_directory(directory).map_err(|error| WriteError::Unknown(failed(directory, &error)))?;
    Ok(StoredSecret::content_version(value))
}

/// Makes the new file; what a write that broke off has left is removed first.
fn written(new: &Path, old: &Path, value: &Secret) -> io::Result<()> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = private::fresh_file(new).and_then(|mut file| {
        private::like(&file, new, old)?;
        file.write_all(value.expose().as_bytes())?;
        file.sync_all()
    });
    if written.is_err() {
        let _gone = std::fs::remove_file(new);
    }
    written
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => StoreError::Missing(text),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::Refused(format!("{text}; to write, the gate's user needs the right to write in this directory"))
        }
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::File;
    use super::super::{SecretStore, Write};
    use super::*;

    async fn write(store: &File, path: &str, value: &str, before: &str) -> Result<String, WriteError> {
        store.write(Write { path, value: &Secret::new(value.into()), before }).await
    }

    async fn version(store: &File, path: &str) -> String {
        store.read(path).await.unwrap().version
    }

    #[tokio::test]
    async fn a_new_value_replaces_the_version_that_was_read_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("pat"), "one").unwrap();
        // What a write that broke off has left.
        std::fs::write(home.path().join(".pat.new"), "half").unwrap();
        let store = File::new(home.path().to_owned());
        let first = version(&store, "pat").await;
        let second = write(&store, "pat", "two", &first).await.unwrap();
        assert_eq!(second, version(&store, "pat").await);
        let refused = write(&store, "pat", "canary", &first).await.unwrap_err();
        assert!(matches!(refused, WriteError::Changed(_)) && !refused.to_string().contains("canary"));
        assert_eq!(std::fs::read_to_string(home.path().join("pat")).unwrap(), "two");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
        let missing = write(&store, "other", "x", &first).await.unwrap_err();
        assert!(matches!(missing, WriteError::NotWritten(StoreError::Missing(_))));
        let beside = write(&store, "../other", "x", &first).await.unwrap_err();
        assert!(matches!(beside, WriteError::NotWritten(StoreError::Refused(_))));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_and_modes_stay() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("real")).unwrap();
        std::fs::write(home.path().join("real/pat"), "one").unwrap();
        std::fs::set_permissions(home.path().join("real/pat"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real/pat", home.path().join("pat")).unwrap();
        let store = File::new(home.path().to_owned());
        write(&store, "pat", "two", &version(&store, "pat").await).await.unwrap();
        assert!(home.path().join("pat").is_symlink());
        assert_eq!(std::fs::read_to_string(home.path().join("real/pat")).unwrap(), "two");
        let mode = std::fs::metadata(home.path().join("real/pat")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_cannot_be_written_says_which_right_is_missing() {
        // Root may write everywhere, so the system's answer is given here.
        let error = io::Error::from(ErrorKind::PermissionDenied);
        let told = failed(Path::new("/etc/patgate/secrets/.pat.new"), &error);
        assert!(matches!(told, StoreError::Refused(_)));
        assert!(told.to_string().contains("the right to write in this directory"), "{told}");
    }
}
