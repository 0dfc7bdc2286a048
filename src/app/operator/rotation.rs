//! The operator's commands about the rotation of PATs.

use super::{Operator, OperatorError};
use crate::pat::{Ask, RotationPreview, RotationReport};

impl Operator {
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
}
