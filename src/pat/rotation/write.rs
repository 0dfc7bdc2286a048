//! The store's part of a rotation: the new token is written over the version that was read, and read back.

use std::time::Duration;

use super::failure::RotationFailure;
use super::journal::Step;
use super::run::Run;
use crate::base::ids::PatId;
use crate::base::names::SecretRef;
use crate::base::secret::Secret;
use crate::snowflake::login_secret::LoginSecret;
use crate::stores::{FetchedPat, StoreError, WriteError};

/// The pauses between tries, in seconds: the secret is in memory alone until the store has it.
const TRIES: [u64; 8] = [0, 1, 2, 5, 10, 20, 40, 60];
/// The pauses between reads of a store that does not have yet what was written there.
const READS: [u64; 4] = [0, 1, 2, 4];

/// What the store has.
enum Back {
    New,
    Old(FetchedPat),
    Other(PatId),
}

impl Run<'_> {
    /// Writes the new token to the first reference, and to the others where they have the old one.
    pub(super) async fn write(&mut self, secret: &LoginSecret, stored: FetchedPat) -> Result<(), RotationFailure> {
        let (Some(pat), old) = (secret.pat(), stored.id.clone()) else { return Ok(()) };
        self.step(Step::Writing);
        let references: Vec<_> = self.token.login.secret().iter().cloned().collect();
        for (rank, reference) in references.iter().enumerate() {
            if rank == 0 {
                self.write_first(reference, pat, secret.id(), stored.clone()).await?;
            } else if let Err(failure) = self.write_other(reference, pat, &old).await {
                let RotationFailure { owner, cause, next_step, busy: _ } = failure;
                let owner = owner.as_str();
                tracing::warn!(%reference, cause, next_step, owner, "a fallback does not have the new token");
            }
        }
        self.step(Step::Written);
        self.lap("write");
        Ok(())
    }

    async fn write_first(
        &self,
        reference: &SecretRef,
        pat: &Secret,
        new: PatId,
        mut stored: FetchedPat,
    ) -> Result<(), RotationFailure> {
        let mut last = StoreError::Unavailable("not tried".to_owned());
        let what = format!("cannot write the new token to {reference}");
        for pause in TRIES {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            self.turn.renew().await?;
            let resolver = &self.inner.rotations.resolver;
            match resolver.write(reference, pat, &stored.version).await {
                Ok(_) | Err(WriteError::Unknown(_) | WriteError::Changed(_)) => {}
                Err(WriteError::NotWritten(error)) if error.passes() => {
                    last = error;
                    continue;
                }
                Err(WriteError::NotWritten(error)) => return Err(RotationFailure::store(&what, &error)),
            }
            match self.read_back(reference, &new, &stored.id).await {
                Ok(Back::New) => return Ok(()),
                Ok(Back::Old(again)) => {
                    last = StoreError::Unavailable("the store still has the old token".to_owned());
                    stored = again;
                }
                Ok(Back::Other(other)) => {
                    let cause =
                        format!("{reference} has a version of another writer, {other}, in place of the new one");
                    return Err(RotationFailure::changed(&cause));
                }
                Err(error) => last = error,
            }
        }
        Err(RotationFailure::store(&what, &last))
    }

    async fn read_back(&self, reference: &SecretRef, new: &PatId, old: &PatId) -> Result<Back, StoreError> {
        let mut back = Err(StoreError::Unavailable("not read".to_owned()));
        for pause in READS {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let read = self.inner.rotations.resolver.read(&self.token.login, reference).await;
            back = match read {
                Ok(read) if read.id == *new => return Ok(Back::New),
                Ok(read) if read.id == *old => Ok(Back::Old(read)),
                Ok(read) => return Ok(Back::Other(read.id)),
                Err(error) if error.passes() => Err(error),
                Err(error) => return Err(error),
            };
        }
        back
    }

    async fn write_other(&self, reference: &SecretRef, pat: &Secret, old: &PatId) -> Result<(), RotationFailure> {
        let failed = |error: &StoreError| RotationFailure::store(&format!("cannot write {reference}"), error);
        let resolver = &self.inner.rotations.resolver;
        let read = resolver.read(&self.token.login, reference).await.map_err(|error| failed(&error))?;
        if read.id != *old {
            return Ok(());
        }
        match resolver.write(reference, pat, &read.version).await {
            Ok(_) => Ok(()),
            Err(WriteError::Changed(cause)) => Err(RotationFailure::changed(&cause)),
            Err(WriteError::NotWritten(error) | WriteError::Unknown(error)) => Err(failed(&error)),
        }
    }
}
