//! [`Turn`]: one gate at a time rotates a token: by a claim in the state directory, and by Redis where there are gates
//! on other hosts.

use super::failure::RotationFailure;
use crate::replicas::{Replicas, WorkTurn, WorkTurnAsked};
use crate::state::{Claim, StateDir};

/// The turn of this gate.
pub(super) struct Turn {
    _claim: Claim,
    among: Option<WorkTurn>,
}

impl Turn {
    /// Takes it.
    ///
    /// # Errors
    /// If another gate, or this one, has it; or if Redis does not say.
    pub(super) async fn take(
        state: &StateDir,
        replicas: Option<&std::sync::Arc<Replicas>>,
        work: &str,
    ) -> Result<Self, RotationFailure> {
        let claim = state.claim(work).map_err(|error| RotationFailure::state(&error))?;
        let claim = claim.ok_or_else(|| RotationFailure::busy("a rotation of this token is under way"))?;
        let among = match replicas {
            None => None,
            Some(replicas) => match replicas.work_turn(work).await {
                WorkTurnAsked::Granted(turn) => Some(turn),
                WorkTurnAsked::Taken => {
                    return Err(RotationFailure::busy("another gate rotates this token just now"));
                }
                WorkTurnAsked::Unknown => return Err(RotationFailure::replicas()),
            },
        };
        Ok(Self { _claim: claim, among })
    }

    /// Keeps it for another step.
    ///
    /// # Errors
    /// If another gate has it by now, or Redis does not say.
    pub(super) async fn renew(&self) -> Result<(), RotationFailure> {
        match &self.among {
            Some(turn) if !turn.renew().await => Err(RotationFailure::replicas()),
            _ => Ok(()),
        }
    }

    /// Gives it back.
    pub(super) async fn give_back(self) {
        if let Some(turn) = self.among {
            turn.give_back().await;
        }
    }
}
