//! What the guard learns from gates on other hosts.

use std::sync::Arc;

use super::Inner;
use super::guard::Guard;
use super::ledger::{Ledger, Outcome};
use super::version::Version;
use crate::base::ids::{PatId, ServiceUser};
use crate::replicas::{Judgement, OwnTurn, Replicas};

impl Guard {
    /// Records how many gates share the places of a user's versions.
    pub(super) fn shared_by(&self, user: &ServiceUser, gates: usize) {
        self.state.lock().ledgers.of(user).gates = gates;
    }

    /// Records that another gate's request was refused, and that there is no verdict yet.
    pub(super) fn suspected_elsewhere(&self, user: &ServiceUser, version: &PatId) {
        self.state.lock().ledgers.of(user).suspected_elsewhere(version, self.clock.now());
    }

    /// Other gates have all places of a version for a while: the gate's own login goes first.
    pub(super) fn wants_proof(self: &Arc<Self>, user: &ServiceUser, version: &PatId) {
        self.state.lock().ledgers.of(user).wants_proof(version);
    }

    /// Forgives the users that the operator has forgiven at another gate. The gate calls it about once a second.
    pub async fn exchange_forgiveness(self: &Arc<Self>, replicas: &Replicas) {
        let refused = |ledger: &Ledger| ledger.pause.is_some() || ledger.versions.iter().any(Version::is_condemned);
        let refused: Vec<ServiceUser> = {
            let state = self.state.lock();
            state.ledgers.iter().filter(|(_, ledger)| refused(ledger)).map(|(name, _)| name.clone()).collect()
        };
        for user in refused {
            let Some(times) = replicas.forgiven(&user).await else { return };
            let before = self.state.lock().line(&user).forgiven.replace(times);
            if before.is_some_and(|before| before != times) {
                tracing::warn!(%user, "forgot the bad logins of a user: the operator has asked another gate");
                self.forget_refusals(&user);
            }
        }
    }

    /// Records that other gates have condemned a version.
    pub(super) fn condemned_elsewhere(self: &Arc<Self>, user: &ServiceUser, version: &PatId) {
        let now = self.clock.now();
        self.change(user, |ledger| ledger.condemned_elsewhere(version, now));
    }
}

impl Inner {
    /// Sends an own login in its turn among replicas, and tells them what came of it.
    pub(super) async fn in_turn(
        &self,
        user: &ServiceUser,
        version: &PatId,
        login: impl Future<Output = Outcome>,
    ) -> Outcome {
        let Some(replicas) = &self.replicas else { return login.await };
        let turn = match replicas.own_login(user, version).await {
            OwnTurn::Granted(turn) => turn,
            OwnTurn::Condemned => {
                self.guard.condemned_elsewhere(user, version);
                return Outcome::Unsent;
            }
            OwnTurn::Taken => return Outcome::Unsent,
        };
        let outcome = login.await;
        let judgement = match &outcome {
            Outcome::Accepted => Judgement::Acquitted,
            Outcome::Refused(refusal) if !refusal.is_the_gate_s() => Judgement::Acquitted,
            Outcome::Refused(refusal) if refusal.condemns() => Judgement::Condemned,
            Outcome::Refused(_) => Judgement::Paused,
            Outcome::Unsent | Outcome::Lost => Judgement::Open,
        };
        replicas.own_login_ended(user, version, judgement, turn);
        outcome
    }
}
