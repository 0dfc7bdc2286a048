//! [`Statements`]: what the gate has Snowflake do as a rotator.

use std::collections::HashSet;

use super::failure::RotationFailure;
use super::settings::RotatedToken;
use crate::base::fault::Owner;
use crate::base::ids::SessionId;
use crate::pat::Inner;
use crate::snowflake::token_statement::{MadeToken, Rows, ShownToken, TokenStatement};
use crate::stores::together;
use crate::upstream::{AccountClient, Ran, SqlUser};

/// Snowflake's code for an object that does not exist, or that the caller may not see (`docs` "Error codes").
const MISSING: &str = "002003";

/// A rotator's statements about one token.
pub(super) struct Statements<'a> {
    pub gate: &'a Inner,
    pub token: &'a RotatedToken,
}

/// Why a statement has no answer.
pub(super) enum NotRun {
    /// It was not carried out.
    Failed(RotationFailure),
    /// Snowflake knows no such token.
    Missing(RotationFailure),
    /// It may have been carried out.
    Lost(RotationFailure),
}

impl NotRun {
    pub(super) fn failure(self) -> RotationFailure {
        match self {
            Self::Failed(failure) | Self::Missing(failure) | Self::Lost(failure) => failure,
        }
    }
}

impl Statements<'_> {
    /// The tokens that Snowflake lists of the user.
    pub(super) async fn show(&self) -> Result<Vec<ShownToken>, RotationFailure> {
        let rows = self.run(TokenStatement::Show).await.map_err(NotRun::failure)?;
        rows.tokens(self.token.user.user()).map_err(|error| self.unreadable(&error))
    }

    /// Makes a token.
    pub(super) async fn make(&self, statement: TokenStatement<'_>) -> Result<MadeToken, NotRun> {
        let rows = self.run(statement).await?;
        let made = rows.made().map_err(|error| NotRun::Lost(self.unreadable(&error)))?;
        let token = &self.token.terms.token;
        if made.name != *token {
            let error = format!("Snowflake has made a token {} in place of {token}", made.name);
            return Err(NotRun::Failed(self.unreadable(&error)));
        }
        Ok(made)
    }

    /// Runs one statement.
    pub(super) async fn run(&self, statement: TokenStatement<'_>) -> Result<Rows, NotRun> {
        let failed = NotRun::Failed;
        let state = self.token.account.as_ref().ok_or_else(|| failed(RotationFailure::no_account()))?;
        let account = AccountClient::new(state, None).map_err(|_| failed(RotationFailure::no_account()))?;
        let rotator = &self.token.rotator;
        let (resolver, env) = (&self.gate.rotations.resolver, &self.gate.env);
        let read = resolver.first(&rotator.login, &HashSet::new()).await;
        let what = format!("cannot read the key of the rotator {}", rotator.name);
        let store = |error| failed(RotationFailure::store(&what, &error));
        let read = read.pat.ok_or_else(|| store(together(&read.failed)))?;
        let entropy = |_| failed(RotationFailure::new(Owner::Gate, "the machine gives no random bytes", "Look at it"));
        let id = SessionId::new(&*env.random).map_err(entropy)?.as_uuid();
        let by = SqlUser { user: rotator.user.user(), secret: &read.secret };
        let sql = statement.sql(self.token.user.user());
        let what = format!("a statement of the rotator {} ({})", rotator.name, statement.verb());
        let login = (&rotator.user, &read.id);
        let guarded = self.gate.statement_begins(login, &rotator.name, self.token.credential()).await;
        let guarded = guarded.map_err(failed)?;
        let ran = account.run(&by, env.clock.wall(), &id, &sql).await;
        guarded.told(&ran);
        match ran {
            Ran::Answered(rows) => Ok(rows),
            Ran::Refused { status, refusal } => {
                let failure = RotationFailure::refused(status, &refusal, &rotator.name);
                let missing = status == 422 && refusal.said().code == MISSING;
                Err(if missing { NotRun::Missing(failure) } else { NotRun::Failed(failure) })
            }
            Ran::Unsent(fault) => Err(failed(RotationFailure::fault(&format!("{what} was not sent"), &fault))),
            Ran::Lost(fault) => Err(NotRun::Lost(RotationFailure::fault(&format!("{what} was not answered"), &fault))),
        }
    }

    fn unreadable(&self, error: &impl std::fmt::Display) -> RotationFailure {
        let next_step = "Run `patgate sql check`, and compare the privileges of the rotator";
        RotationFailure::new(Owner::Snowflake, error.to_string(), next_step)
    }
}
