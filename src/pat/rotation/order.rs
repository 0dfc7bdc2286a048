//! What an operator orders: a rotation now, or a look at what one would do.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::failure::RotationFailure;
use super::journal::Entry;
use super::plan::{Ask, How, Making, Plan, Situation, Why};
use super::run::{Rotated, Rotation};
use super::settings::RotatedToken;
use super::tidy::Uses;
use crate::base::ids::PatId;
use crate::base::rfc3339;
use crate::pat::{Inner, Pats};
use crate::snowflake::token_statement::TokenStatement;

/// How long an operator waits; a rotation goes on without him.
const PATIENCE: Duration = Duration::from_secs(100);

/// A rotation that an operator ordered and that is done. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationReport {
    /// The credential.
    pub credential: String,
    /// The token's name.
    pub token: String,
    /// The version before.
    pub old: PatId,
    /// The version now.
    pub new: PatId,
    /// What becomes of the old token.
    pub old_end: String,
    /// How long each part took, in milliseconds.
    pub took_ms: Vec<(String, u64)>,
}

/// What a rotation would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationPreview {
    /// The credential.
    pub credential: String,
    /// The token's name.
    pub token: String,
    /// Who would run the statements.
    pub rotator: String,
    /// The statements, in order.
    pub statements: Vec<String>,
    /// What happens between them and after, for people.
    pub steps: Vec<String>,
    /// When the gate would do it by itself; `None` if it would not.
    #[serde(with = "rfc3339::option")]
    pub due: Option<SystemTime>,
    /// Why it could not.
    pub obstacle: Option<RotationFailure>,
}

impl Pats {
    /// Rotates the token of a credential now. `None` if the credential has no rotation.
    pub async fn rotate(
        &self,
        credential: &str,
        ask: Ask,
        by: &str,
    ) -> Option<Result<RotationReport, RotationFailure>> {
        let token = self.inner.rotations.tokens.get(credential)?.clone();
        let (inner, of, by) = (self.inner.clone(), token.clone(), by.to_owned());
        // A task of its own: a rotation that was begun goes on if nobody waits any more.
        let rotating = self.inner.control.spawn(async move { inner.rotate(&of, Some(ask), Some(&by)).await });
        let late = || RotationFailure::busy("the rotation is under way, and takes longer than usual");
        let rotated = match tokio::time::timeout(PATIENCE, rotating).await {
            Ok(Ok(rotated)) => rotated,
            Ok(Err(_)) | Err(_) => Err(late()),
        };
        Some(rotated.and_then(|rotated| match rotated {
            Rotated::Done(done) => Ok(report(credential, &token, done)),
            Rotated::Waits(_) => Err(late()),
        }))
    }

    /// What a rotation would do now; nothing is changed. `None` if the credential has no rotation.
    pub async fn preview_rotation(&self, credential: &str, ask: Ask) -> Option<RotationPreview> {
        let token = self.inner.rotations.tokens.get(credential)?;
        Some(self.inner.preview(credential, token, ask).await)
    }
}

fn report(credential: &str, token: &RotatedToken, done: Rotation) -> RotationReport {
    let Rotation { why: _, old, new, old_end, took } = done;
    let millis = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let took_ms = took.into_iter().map(|(part, took)| (part.to_owned(), millis(took))).collect();
    RotationReport { credential: credential.to_owned(), token: token.terms.token.clone(), old, new, old_end, took_ms }
}

impl Inner {
    async fn preview(&self, credential: &str, token: &RotatedToken, ask: Ask) -> RotationPreview {
        let mut preview = RotationPreview {
            credential: credential.to_owned(),
            token: token.terms.token.clone(),
            rotator: token.rotator.name.to_string(),
            statements: vec![TokenStatement::Show.sql(token.user.user())],
            steps: Vec::new(),
            due: None,
            obstacle: None,
        };
        let statements = self.statements(token);
        let (tokens, entry) = match (statements.show().await, self.entry(token)) {
            (Ok(tokens), Ok(entry)) => (tokens, entry),
            (Err(failure), _) | (_, Err(failure)) => return RotationPreview { obstacle: Some(failure), ..preview },
        };
        let (terms, now) = (&token.terms, self.env.clock.wall());
        // Which tokens could be removed is known only to a rotation itself: none is promised here.
        let uses = Uses { others: true, ..Uses::default() };
        let stored = entry.seen.as_ref().map(|seen| &seen.version);
        let refused = stored.is_some_and(|version| self.guard.is_refused_by_snowflake(&token.user, version));
        let situation = Situation { terms, tokens: &tokens, entry: &entry, uses: &uses, refused, now };
        preview.due = match situation.plan(None) {
            Plan::Wait(until) => Some(until),
            Plan::Make(_) => Some(now),
            Plan::Cannot(_) => None,
        };
        match situation.plan(Some(ask)) {
            Plan::Make(making) => describe(&mut preview, token, &making),
            Plan::Cannot(failure) => preview.obstacle = Some(failure),
            Plan::Wait(_) => {}
        }
        preview
    }

    /// What the journal of a token says.
    pub(super) fn entry(&self, token: &RotatedToken) -> Result<Entry, RotationFailure> {
        let (_, journal) = self.rotations.journal(token)?;
        journal.read().map_err(|error| RotationFailure::state(&error))
    }
}

/// The statements of a rotation, and what happens between them.
fn describe(preview: &mut RotationPreview, of: &RotatedToken, making: &Making) {
    let (user, token) = (of.user.user(), of.terms.token.as_str());
    let mut run = |statement: TokenStatement<'_>| preview.statements.push(statement.sql(user));
    making.first.iter().for_each(|token| run(TokenStatement::Remove { token }));
    let hours = match &making.how {
        How::Rotate { hours } => {
            run(TokenStatement::Rotate { token, hours: *hours });
            *hours
        }
        How::Add { rename, role, days, hours } => {
            if let Some(to) = rename {
                run(TokenStatement::Rename { token, to });
            }
            run(TokenStatement::Add { token, role: role.as_deref(), days: *days });
            *hours
        }
    };
    let first = of.login.secret().iter().next().map(ToString::to_string).unwrap_or_default();
    preview.steps = vec![
        format!("prove: log in as {user} with the new token, as the credential {} does, and log out", of.credential()),
        format!("write: put it into {first} in place of the version that is there, and read it back"),
        format!("use: {} logs in with it from then on", of.names()),
    ];
    preview.steps.push(match (&making.how, making.remove_old) {
        (_, true) if making.why == Why::Replace => {
            format!(
                "remove: the old token and all rotated before it, {token}_ROTATED_…, as soon as the new one is in use"
            )
        }
        (_, true) => format!("remove: the old token, {token}_ROTATED_…, as soon as the new one is in use"),
        (How::Add { .. }, false) => format!("remove: the old token, after {hours} h"),
        (How::Rotate { .. }, false) => format!("the old token, {token}_ROTATED_…, goes on for {hours} h"),
    });
}
