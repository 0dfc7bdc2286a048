//! [`RotationFailure`]: why a token was not rotated: what failed, who has to act, and what to do next.

use serde::{Deserialize, Serialize};

use super::settings::Terms;
use crate::base::fault::{Fault, Kind, Owner};
use crate::snowflake::refusal::Refusal;
use crate::stores::StoreError;

/// Why a token was not rotated. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationFailure {
    /// Who has to act.
    pub owner: Owner,
    /// What failed.
    pub cause: String,
    /// What to do.
    pub next_step: String,
    /// Whether another gate, or this one, is at it just now.
    #[serde(default)]
    pub busy: bool,
}

/// What the gate does by itself after a failure that passes.
const AGAIN: &str = "Nothing at once: the old token goes on. A gate that runs tries again by itself; a command is \
to be repeated";

impl RotationFailure {
    pub(super) fn new(owner: Owner, cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { owner, cause: cause.into(), next_step: next_step.into(), busy: false }
    }

    pub(super) fn busy(cause: &str) -> Self {
        let next_step = "Wait for it: `patgate pat status` has its outcome";
        Self { busy: true, ..Self::new(Owner::Gate, cause, next_step) }
    }

    pub(super) fn no_token(terms: &Terms) -> Self {
        let token = &terms.token;
        let cause = format!("Snowflake lists no token {token} of the user");
        let next_step = format!(
            "Compare `token` of the rotation with SHOW USER PROGRAMMATIC ACCESS TOKENS, and the rotator's privilege on \
             the user with `patgate sql check`. To have the gate make {token}, run `patgate pat rotate CREDENTIAL`"
        );
        Self::new(Owner::Gate, cause, next_step)
    }

    pub(super) fn disabled(terms: &Terms) -> Self {
        let cause = format!("the token {} is disabled: it may have leaked, or its user was disabled", terms.token);
        let next_step = "Find out who disabled it, and why. Then run `patgate pat replace CREDENTIAL --now` for a \
                         new token; do not simply enable the old one";
        Self::new(Owner::Policy, cause, next_step)
    }

    pub(super) fn revoked(credential: &str) -> Self {
        let cause = "an operator has revoked the PAT in the store: the gate makes no new one unasked";
        let next_step = format!(
            "Run `patgate pat replace {credential} --now` for a new token; if the old one is good again at Snowflake, \
             `patgate pat retry {credential}`"
        );
        Self::new(Owner::Policy, cause, next_step)
    }

    pub(super) fn cap(terms: &Terms, most: usize) -> Self {
        let cause = format!(
            "the user has {most} living tokens, the most that Snowflake allows, and none of those that were rotated \
             from {} is known to be unused",
            terms.token
        );
        let next_step = "Remove tokens that nobody uses (ALTER USER … REMOVE PROGRAMMATIC ACCESS TOKEN), or make \
                         `overlap` shorter; the old token goes on";
        Self::new(Owner::Policy, cause, next_step)
    }

    pub(super) fn no_account() -> Self {
        Self::new(Owner::Gate, "the account cannot be set up", "Run `patgate check`")
    }

    pub(super) fn state(error: &std::io::Error) -> Self {
        let cause = format!("the journal of the rotation cannot be written: {error}");
        Self::new(Owner::Gate, cause, "Mend the state directory: without a journal the gate makes no token")
    }

    pub(super) fn no_state() -> Self {
        let next_step = "Name a directory in state.directory that the gate can write to";
        Self::new(Owner::Gate, "the gate has no state directory for the journal of rotations", next_step)
    }

    pub(super) fn replicas() -> Self {
        let cause = "Redis does not answer, so the gates cannot agree which one rotates";
        Self::new(Owner::Gate, cause, "Mend Redis; the old token goes on, and the gate tries again by itself")
    }

    pub(super) fn store(what: &str, error: &StoreError) -> Self {
        let next_step = if error.passes() {
            AGAIN.to_owned()
        } else {
            "Check the reference, and the gate's rights to read and to write there; README lists them".to_owned()
        };
        Self::new(Owner::Store, format!("{what}: {error}"), next_step)
    }

    pub(super) fn changed(cause: &str) -> Self {
        let next_step = "Nothing: the version of the other writer counts. If nobody else should write there, look who \
                         did";
        Self::new(Owner::Store, cause, next_step)
    }

    pub(super) fn fault(what: &str, fault: &Fault) -> Self {
        let owner = fault.kind().rule().owner;
        Self::new(owner, format!("{what}: {}", fault.cause()), AGAIN)
    }

    /// Snowflake refused a statement of the rotator's; 401 is about the rotator itself.
    pub(super) fn refused(status: u16, refusal: &Refusal, rotator: &str) -> Self {
        let cause = format!("Snowflake refuses the rotator {rotator}: {}", refusal.cause());
        let next_step = if status == 401 {
            "Compare the rotator's key with RSA_PUBLIC_KEY_FP of DESC USER, and its network and authentication policy; \
             `patgate sql setup` prints what it needs"
        } else if refusal.code == "099203" {
            "A service user's token is restricted to a role: set rotation.role (and rotation.lifetime, else the new \
             token \
             lives as long as Snowflake's default) of this credential, and try again"
        } else {
            "Grant it MODIFY PROGRAMMATIC AUTHENTICATION METHODS on the service user, or mend what the text says; \
             `patgate sql setup` prints what it needs"
        };
        let owner = if status == 401 { refusal.kind().rule().owner } else { Owner::Policy };
        Self::new(owner, cause, next_step)
    }

    /// The guard sends no login of the user for a while.
    pub(super) fn paused(kind: Kind, cause: &str, credential: &str) -> Self {
        let rule = kind.rule();
        let (code, name) = (rule.code, rule.name);
        let cause = format!("the gate sends no login of this user just now ({code} {name}): {cause}");
        let next_step = format!(
            "Do what `patgate explain {code}` says. The gate tries again by itself; `patgate pat retry {credential}` \
             ends the pause"
        );
        Self::new(rule.owner, cause, next_step)
    }

    /// The new token is dead on arrival.
    pub(super) fn dead(cause: &str) -> Self {
        let cause = format!("the new token was made, and cannot log in: {cause}");
        let next_step = "Mend what the text says: ROTATE checks neither the network policy, nor the authentication \
                         policy, nor the role. The old token goes on until its overlap ends; the gate tries again";
        Self::new(Owner::Policy, cause, next_step)
    }

    pub(super) fn unproven(cause: &str) -> Self {
        Self::new(Owner::Snowflake, format!("no login with the new token was answered: {cause}"), AGAIN)
    }
}
