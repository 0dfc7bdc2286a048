//! The operator's commands about the rotation of PATs.

use serde::{Deserialize, Serialize};

use super::{ClientLogin, Operator, OperatorError};
use crate::pat::{Ask, PatRevocation, RotationPreview, RotationReport, TokenLook};
use crate::session::Revocation;

/// The end of a PAT, and who feels it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevocationReport {
    /// What ends it.
    pub revocation: PatRevocation,
    /// The clients that log in with it.
    pub clients: Vec<ClientLogin>,
    /// How many sessions that it had opened were ended.
    pub ended: usize,
}

impl Operator {
    /// What the rotators see of their tokens.
    pub async fn look_at_tokens(&self) -> Vec<TokenLook> {
        self.generation().pats.look_at_tokens().await
    }

    /// Rotates the token of a credential now; with [`Ask::Replace`] the old one ends at once.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`], [`OperatorError::NoRotation`], [`OperatorError::PatNotRotated`].
    pub async fn rotate(&self, credential: &str, ask: Ask) -> Result<RotationReport, OperatorError> {
        self.known(credential)?;
        let rotated = self.generation().pats.rotate(credential, ask, &self.who).await;
        let none = || OperatorError::NoRotation { name: credential.to_owned() };
        rotated.ok_or_else(none)?.map_err(|failure| OperatorError::PatNotRotated(Box::new(failure)))
    }

    /// What a rotation would do; nothing is changed.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`], [`OperatorError::NoRotation`].
    pub async fn preview_rotation(&self, credential: &str, ask: Ask) -> Result<RotationPreview, OperatorError> {
        self.known(credential)?;
        let preview = self.generation().pats.preview_rotation(credential, ask).await;
        preview.ok_or_else(|| OperatorError::NoRotation { name: credential.to_owned() })
    }

    /// What ends the PAT of a credential, and who will feel it; nothing is changed.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`], [`OperatorError::PatNotRotated`].
    pub async fn preview_revocation(&self, credential: &str, remove: bool) -> Result<RevocationReport, OperatorError> {
        self.known(credential)?;
        let revocation = self.generation().pats.revocation(credential, remove).await;
        let revocation = revocation.ok_or_else(|| OperatorError::NoRotation { name: credential.to_owned() })?;
        let revocation = revocation.map_err(|failure| OperatorError::PatNotRotated(Box::new(failure)))?;
        Ok(RevocationReport { revocation, clients: self.clients_of(credential).await, ended: 0 })
    }

    /// Ends the PAT of a credential, and the sessions that it opened.
    ///
    /// # Errors
    /// [`OperatorError::NoSuchCredential`], [`OperatorError::PatNotRotated`].
    pub async fn revoke(&self, credential: &str, remove: bool) -> Result<RevocationReport, OperatorError> {
        self.known(credential)?;
        let (clients, pats) = (self.clients_of(credential).await, self.generation().pats.clone());
        // Here first: Snowflake may take its time.
        let (versions, mut ended) = (pats.use_no_more(credential).await, 0);
        if let Ok(sessions) = self.sealed() {
            for version in versions {
                ended += sessions.end(Revocation::Pat(version)).await.here;
            }
        }
        let revoked = pats.revoke(credential, remove, &self.who).await;
        let revoked = revoked.ok_or_else(|| OperatorError::NoRotation { name: credential.to_owned() })?;
        let revocation = revoked.map_err(|failure| OperatorError::PatNotRotated(Box::new(failure)))?;
        Ok(RevocationReport { revocation, clients, ended })
    }

    /// The clients of all credentials of the same service user: what ends for one ends for all of them.
    async fn clients_of(&self, credential: &str) -> Vec<ClientLogin> {
        let generation = self.generation();
        let pats = &generation.pats;
        let same = |other: &str| other == credential || pats.have_one_user(credential, other);
        self.clients().await.into_iter().filter(|one| same(&one.credential)).collect()
    }
}
