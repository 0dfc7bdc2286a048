//! The end of a rotation: the new version is used, and what is not needed any more is removed.

use std::time::Duration;

use super::failure::RotationFailure;
use super::journal::{Open, Removal, Step};
use super::plan::{How, Situation, Why};
use super::run::{Broken, Rotation, Run};
use super::statements::NotRun;
use super::tidy;
use crate::base::epoch::{EpochMillis, millis};
use crate::base::fault::Owner;
use crate::base::ids::PatId;
use crate::snowflake::token_statement::TokenStatement;

/// How long a login may take, and how often the gate looks whether the last one with the old token has ended.
const LOGIN: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_millis(50);

impl Run<'_> {
    /// Has clients log in with the new version, and ends what is not needed any more.
    pub(super) async fn use_it(&mut self, open: Open, new: &PatId) -> Result<Rotation, Broken> {
        self.step(Step::Using);
        let proven = self.now();
        let read = self.inner.cache.refresh(Some(self.token.credential())).await;
        let uses = read.iter().any(|(_, read)| read.as_ref().is_ok_and(|pat| pat.fetched.id == *new));
        if !uses {
            let (token, pat) = (&self.token.terms.token, new);
            let next_step = "the gate reads it again by itself; look at `patgate pat status`";
            tracing::warn!(%token, %pat, next_step, owner = "store", "the new version is in the store, not yet in use");
        }
        if open.remove_old {
            self.drained(&open.old).await;
        }
        self.lap("use");
        let before = match open.why {
            Why::Replace => self.rotated_before(&open).await,
            _ => Ok(Vec::new()),
        };
        let old_end = self.done(&open, new, proven, &before);
        self.remove_what_is_due().await;
        self.tidy().await;
        self.lap("tidy");
        let took = std::mem::take(&mut self.took);
        Ok(Rotation { why: open.why, old: open.old, new: new.clone(), old_end, took })
    }

    /// Waits until no request of this gate is under way with the old version: its removal would cost bad logins.
    async fn drained(&self, old: &PatId) {
        let (begun, user) = (tokio::time::Instant::now(), &self.token.user);
        while self.inner.guard.is_under_way(user, old) && begun.elapsed() < LOGIN {
            tokio::time::sleep(DRAIN).await;
        }
    }

    /// The tokens that were rotated from this one before the old one, and still live. After a leak nobody knows which
    /// of them got out.
    async fn rotated_before(&self, open: &Open) -> Result<Vec<String>, RotationFailure> {
        let tokens = self.statements().show().await?;
        let rotated = tidy::rotated(&self.token.terms.token, &tokens, self.now().to_system_time());
        let names = rotated.into_iter().map(|token| token.name.clone());
        Ok(names.filter(|name| Some(name) != open.old_name.as_ref() && !open.lost.contains(name)).collect())
    }

    /// Writes down that it is done, with what has to be removed; says what becomes of the old token.
    fn done(
        &self,
        open: &Open,
        new: &PatId,
        proven: EpochMillis,
        before: &Result<Vec<String>, RotationFailure>,
    ) -> String {
        let now = self.now();
        let hours = match open.how {
            How::Rotate { hours } | How::Add { hours, .. } => hours,
        };
        let ends = EpochMillis(now.0 + hours * 3_600_000);
        let mut removals: Vec<_> = open.lost.iter().map(|name| Removal { name: name.clone(), at: now }).collect();
        let old_end = match (&open.old_name, &open.how) {
            (Some(name), _) if open.remove_old => {
                // Gates on other hosts may have the old one in memory until they read the store again.
                let others = self.inner.replicas.is_some() && open.why != Why::Replace;
                let after = if others { self.inner.cache.overdue() } else { Duration::ZERO };
                let at = EpochMillis(now.0 + millis(after));
                removals.push(Removal { name: name.clone(), at });
                format!("{name} is removed after {} s", after.as_secs())
            }
            (Some(name), How::Add { .. }) => {
                removals.push(Removal { name: name.clone(), at: ends });
                format!("{name} is removed after {hours} h")
            }
            (Some(name), How::Rotate { .. }) => format!("{name} goes on for {hours} h"),
            (None, _) => "there was no old token that went on".to_owned(),
        };
        let before_it = match before {
            Ok(names) if names.is_empty() => String::new(),
            Ok(names) => {
                removals.extend(names.iter().map(|name| Removal { name: name.clone(), at: now }));
                format!("; what was rotated before is removed too: {}", names.join(", "))
            }
            Err(failure) => format!("; what was rotated before goes on, since it is not known: {}", failure.cause),
        };
        self.try_note(|entry| {
            entry.done(open, new, proven, now);
            entry.removals.append(&mut removals);
        });
        old_end + &before_it
    }

    /// Removes the oldest rotated tokens that no gate uses, while there are many.
    async fn tidy(&self) {
        let Ok(tokens) = self.statements().show().await else { return };
        let Ok(entry) = self.journal.read() else { return };
        let (uses, now) = (self.uses(&entry).await, self.now().to_system_time());
        let terms = &self.token.terms;
        let situation = Situation { terms, tokens: &tokens, entry: &entry, uses: &uses, refused: false, now };
        self.looked(&tokens, &entry, &situation.plan(None));
        let surplus = (tidy::living(&tokens, now) + 1).saturating_sub(tidy::MANY);
        let free = tidy::removable(&terms.token, &tokens, &entry, &uses, now);
        for name in free.iter().take(surplus) {
            if let Err(why) = self.remove(name).await {
                let failure = why.failure();
                tracing::warn!(cause = failure.cause, next_step = failure.next_step, "a token was not removed");
                return;
            }
        }
    }

    /// Removes what the journal says must go by now. A token that cannot be removed stops no rotation.
    pub(super) async fn remove_what_is_due(&self) {
        if let Err(failure) = self.remove_due().await {
            let RotationFailure { owner, cause, next_step, busy: _ } = failure;
            let owner = owner.as_str();
            tracing::warn!(cause, next_step, owner, "a token could not be removed yet; the gate tries again");
        }
    }

    async fn remove_due(&self) -> Result<(), RotationFailure> {
        let entry = self.journal.read().map_err(|error| RotationFailure::state(&error))?;
        let now = self.now();
        for Removal { name, at } in entry.removals {
            if at > now {
                continue;
            }
            self.remove(&name).await.map_err(NotRun::failure)?;
            self.note(|entry| entry.removals.retain(|removal| removal.name != name))?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), NotRun> {
        // Only what was rotated from the token is the gate's to remove.
        if tidy::rotated_at(name, &self.token.terms.token).is_none() {
            let cause = format!("{name} is no rotated token of {}", self.token.terms.token);
            return Err(NotRun::Failed(RotationFailure::new(Owner::Gate, cause, "Nothing: it was not removed")));
        }
        match self.statements().run(TokenStatement::Remove { token: name }).await {
            Ok(_) => {
                tracing::info!(token = name, "removed a rotated token");
                Ok(())
            }
            Err(NotRun::Missing(_)) => Ok(()),
            Err(failed) => Err(failed),
        }
    }
}
