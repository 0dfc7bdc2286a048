//! [`Ledger`]: what one service user has spent, and what is known of each version of its PAT. It is pure: it takes the
//! time as an argument and does no I/O.
//!
//! # Width
//! A version has a width: how many requests may be at risk with it at once, the gate's own login included. Clients'
//! requests take at most one less. A version that is new, or has had no success for 10 s while nothing of it was
//! under way, has the width `pat.budget`. Each success of a request that was sent after the last refusal widens it by
//! one, up to `pat.in_flight`.
//!
//! # Verdict
//! A refusal of what a client composed makes a version [`Standing::Suspect`]: nothing more goes with it. The gate's own
//! login decides: it is accepted, and the refusal was the client's own; or it is refused, and the version is
//! [`Standing::Condemned`] for all. A client's login that asks for nothing of its own has the same form, so its refusal
//! decides too, if the table of refusals knows the reason. A success of a request that was under way when the refusal
//! came decides nothing: Snowflake may have looked at it before the PAT died.
//!
//! # Doubts
//! An outcome that is lost keeps its place for 15 s, or until a success of a request that was sent later. If only
//! doubts are in the way, the gate's own login goes at once, and its success clears them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::contexts::{Context, Contexts};
use super::version::{Accused, Doubt, ELSEWHERE, Elsewhere, Pause, Standing, Version};
use crate::base::fault::Kind;
use crate::base::ids::PatId;
use crate::base::names::ClientName;
use crate::base::verdict::Widths;
use crate::snowflake::refusal::Refusal;

/// How many versions of a PAT are remembered: one more than Snowflake keeps tokens for a user.
const REMEMBERED: usize = 16;
/// The pauses after an own login that was refused for a reason without a verdict.
pub(super) const UNLISTED: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15 * 60));
/// The same for a network policy: its refusals lock nobody, and operators correct it while they watch.
pub(super) const POLICY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The same after Snowflake's word that the user is locked.
pub(super) const LOCK: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// The pause after two condemned versions with no success between them: as long as Snowflake's own lock.
pub(super) const CONDEMNED_TWICE: Duration = Duration::from_secs(15 * 60);

/// How many accused requests of a version are remembered until the verdict.
const MOST_ACCUSED: usize = 1024;

/// The state of one service user.
#[derive(Default)]
pub(super) struct Ledger {
    /// The youngest last.
    pub versions: Vec<Version>,
    /// Nothing is sent for a while.
    pub pause: Option<Pause>,
    /// Versions condemned since the last success.
    pub condemned: u32,
    /// What Snowflake refuses for its content.
    pub contexts: Contexts,
    /// How many gates share the places of every version; 0 and 1 without replicas.
    pub gates: usize,
    /// Counts the sendings, so that later ones are known from earlier ones.
    sent: u64,
    /// The last sending when a refusal came.
    refused_at: u64,
}

/// Whether a request may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It may.
    Go,
    /// All places are taken; one comes free.
    Full,
    /// Other processes have taken them; they say nothing when one comes free.
    FullElsewhere,
    /// The gate's own login has to go first.
    Proof,
    /// No verdict yet.
    Suspect,
    /// Not with this version.
    Condemned,
    /// Not now.
    Paused(Kind, String),
}

/// A request that was let go.
pub(super) struct Sending {
    /// The number of its sending, and its time.
    pub number: u64,
    pub at: Instant,
    pub client: ClientName,
    pub context: Context,
}

/// What came of a request.
pub(super) enum Outcome {
    /// Snowflake took the PAT.
    Accepted,
    /// Snowflake refused.
    Refused(Refusal),
    /// Snowflake has not checked the PAT.
    Unsent,
    /// It is unknown whether Snowflake has checked it.
    Lost,
}

impl Ledger {
    /// Whether a request may go with a version now; `elsewhere` is what other processes do with it.
    pub(super) fn room(&mut self, id: &PatId, widths: Widths, elsewhere: Elsewhere, now: Instant) -> Room {
        if let Some(pause) = self.pause.as_ref().filter(|pause| now < pause.until) {
            return Room::Paused(pause.kind, pause.cause.clone());
        }
        let (user_paused, gates) = (self.pause.is_some(), self.gates);
        let version = self.version(id);
        version.settle(widths, now);
        match &version.standing {
            Standing::Condemned { .. } => return Room::Condemned,
            Standing::Suspect { .. } => return Room::Suspect,
            Standing::Sound => {}
        }
        if let Some(pause) = &version.pause {
            return match now < pause.until {
                true => Room::Paused(pause.kind, pause.cause.clone()),
                false => Room::Proof,
            };
        }
        if user_paused || version.wants_proof {
            return Room::Proof;
        }
        // What is proven in one process is proven.
        version.width = version.width.max(elsewhere.width.min(widths.in_flight));
        if version.has_place(version.taken(), gates, widths, elsewhere) {
            return Room::Go;
        }
        match (version.under_way, elsewhere.at_risk) {
            (0, 0) => Room::Proof,
            (0, _) => Room::FullElsewhere,
            _ => Room::Full,
        }
    }

    /// Whether every request with one of these versions may go in its turn: nothing speaks against the user, the
    /// versions or a context.
    pub(super) fn is_calm(&self, asked: &HashSet<PatId>, now: Instant) -> bool {
        let calm = |version: &Version| {
            (version.standing == Standing::Sound && version.pause.is_none()) || !asked.contains(&version.id)
        };
        self.pause.is_none() && self.contexts.are_calm(now) && self.versions.iter().all(calm)
    }

    /// A request goes; returns the number of its sending.
    pub(super) fn sends(&mut self, id: &PatId, now: Instant) -> u64 {
        self.sent += 1;
        let sent = self.sent;
        let version = self.version(id);
        version.begins(now);
        version.under_way += 1;
        sent
    }

    /// A place comes free, whatever the outcome will be.
    pub(super) fn frees(&mut self, id: &PatId, now: Instant) {
        self.version(id).frees(now);
    }

    /// Records what came of a request whose place is free already.
    pub(super) fn told(&mut self, id: &PatId, sending: &Sending, outcome: Outcome, widths: Widths, now: Instant) {
        let sent = sending.number;
        match outcome {
            Outcome::Unsent => {}
            Outcome::Lost => self.version(id).doubts.push(Doubt::of(sent, sending.at)),
            Outcome::Accepted => {
                self.contexts.worked(&sending.client, &sending.context);
                let later = sent > self.refused_at;
                if later {
                    self.condemned = 0;
                }
                let version = self.version(id);
                version.settles_doubts(sent);
                // A success that was sent before a refusal says nothing about what came after, and a pause ends with
                // the gate's own login alone.
                if later && version.pause.is_none() && version.standing == Standing::Sound {
                    version.succeeded(now);
                    version.width = widths.in_flight.min(version.width + 1);
                }
            }
            Outcome::Refused(refusal) => self.refused(id, sending, &refusal, now),
        }
    }

    fn refused(&mut self, id: &PatId, sending: &Sending, refusal: &Refusal, now: Instant) {
        let kind = refusal.kind();
        self.refused_at = self.sent;
        let version = self.version(id);
        version.refusals += 1;
        version.first_refused.get_or_insert(now);
        if kind == Kind::UserLocked || (refusal.is_known() && !sending.context.is_client_s) {
            return self.judged(id, refusal, now);
        }
        if version.is_condemned() {
            return;
        }
        let accused = Accused { client: sending.client.clone(), context: sending.context.clone(), kind };
        if !version.accused.contains(&accused) && version.accused.len() < MOST_ACCUSED {
            version.accused.push(accused);
        }
        if version.standing == Standing::Sound {
            version.standing = Standing::Suspect { since: now, read: false, kind, cause: refusal.cause() };
            (version.lost, version.next_own) = (0, None);
        }
    }

    /// The number of a sending that the ledger does not count.
    pub(super) fn sends_beside(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// The gate's own login goes; returns the number of its sending.
    pub(super) fn own_sends(&mut self, id: &PatId, now: Instant) -> u64 {
        let sent = self.sends_beside();
        let version = self.version(id);
        version.begins(now);
        version.own = true;
        sent
    }

    /// Records what came of the gate's own login.
    pub(super) fn own_told(&mut self, id: &PatId, sent: u64, outcome: Outcome, widths: Widths, now: Instant) {
        let refused_at = self.refused_at;
        let version = self.version(id);
        version.own = false;
        version.ends(now);
        let outcome = match outcome {
            // The credential's own role or warehouse is refused after Snowflake has accepted the PAT.
            Outcome::Refused(refusal) if !refusal.is_the_gate_s() => Outcome::Accepted,
            outcome => outcome,
        };
        match outcome {
            Outcome::Accepted => {
                version.settles_doubts(sent);
                let suspected = match &version.standing {
                    Standing::Suspect { cause, .. } => Some(cause.clone()),
                    Standing::Sound | Standing::Condemned { .. } => None,
                };
                if sent <= refused_at && suspected.is_some() {
                    // It was sent before the refusal: another one decides.
                    return;
                }
                version.succeeded(now);
                (version.lost, version.next_own, version.pause) = (0, None, None);
                match suspected {
                    Some(cause) => self.acquit(id, &cause, now),
                    None => version.width = widths.in_flight.min(version.width + 1),
                }
                (self.condemned, self.pause) = (0, None);
            }
            Outcome::Refused(refusal) => {
                version.refusals += 1;
                version.first_refused.get_or_insert(now);
                self.refused_at = self.sent;
                self.judged(id, &refusal, now);
            }
            Outcome::Lost => {
                // It may have been a bad login, so the next one waits as long as for any other doubt.
                version.doubts.push(Doubt::of(sent, now));
                version.own_was_lost(now, true);
            }
            Outcome::Unsent => {
                let suspect = matches!(version.standing, Standing::Suspect { .. });
                version.own_was_lost(now, !suspect);
                if let Standing::Suspect { read, .. } = &mut version.standing {
                    // A newer version helps more than another try.
                    *read = false;
                }
            }
        }
    }

    /// Snowflake has refused a request of the gate's own form.
    fn judged(&mut self, id: &PatId, refusal: &Refusal, now: Instant) {
        let (kind, cause) = (refusal.kind(), refusal.cause());
        let pause = |before: Option<&Pause>, (first, longest): (Duration, Duration)| {
            let length =
                before.filter(|before| before.kind == kind).map_or(first, |before| longest.min(before.length * 2));
            Some(Pause { kind, cause: cause.clone(), until: now + length, length })
        };
        if kind == Kind::UserLocked {
            // Of several requests under way, the first says it for all.
            if self.pause.as_ref().is_none_or(|pause| pause.until <= now) {
                self.pause = pause(self.pause.as_ref(), LOCK);
            }
            let version = self.version(id);
            version.accused.clear();
            if !version.is_condemned() {
                version.standing = Standing::Sound;
            }
            return;
        }
        let version = self.version(id);
        if version.is_condemned() {
            return;
        }
        version.accused.clear();
        if refusal.condemns() {
            version.standing = Standing::Condemned { kind, cause: cause.clone() };
            version.pause = None;
            self.condemned += 1;
            if self.condemned >= 2 {
                let cause = format!("Snowflake has refused {} versions in a row; {cause}", self.condemned);
                self.pause = Some(Pause { kind, cause, until: now + CONDEMNED_TWICE, length: CONDEMNED_TWICE });
            }
            return;
        }
        version.standing = Standing::Sound;
        if version.pause.as_ref().is_none_or(|pause| pause.until <= now) {
            version.pause = pause(version.pause.as_ref(), if kind.is_network_policy() { POLICY } else { UNLISTED });
        }
    }

    fn acquit(&mut self, id: &PatId, cause: &str, now: Instant) {
        let version = self.version(id);
        version.standing = Standing::Sound;
        (version.first_refused, version.lost, version.next_own) = (None, 0, None);
        for Accused { client, context, kind } in std::mem::take(&mut version.accused) {
            let is_the_request_s = match kind {
                // The gate's addresses may differ, and a lock may have ended meanwhile: the request goes again.
                kind if kind.is_about_the_user() => false,
                kind if kind.condemns_pat() && context.is_client_s => true,
                // Snowflake's own trouble looks like this too.
                _ => self.contexts.was_refused(&client, &context, now),
            };
            if is_the_request_s {
                self.contexts.refused(&client, context, id, cause, now);
            }
        }
    }

    /// Records that another gate's request was refused, and that there is no verdict yet.
    pub(super) fn suspected_elsewhere(&mut self, id: &PatId, now: Instant) {
        let version = self.version(id);
        if version.standing == Standing::Sound {
            let (kind, cause) = (Kind::PatRefused, ELSEWHERE.to_owned());
            version.standing = Standing::Suspect { since: now, read: false, kind, cause };
        }
    }

    /// Records that other gates have condemned a version.
    pub(super) fn condemned_elsewhere(&mut self, id: &PatId, now: Instant) {
        let version = self.version(id);
        if !version.is_condemned() {
            version.first_refused.get_or_insert(now);
            let cause = ELSEWHERE.to_owned();
            version.standing = Standing::Condemned { kind: Kind::PatRefused, cause };
        }
    }

    /// Records that the operator has revoked a version.
    pub(super) fn revoked(&mut self, id: &PatId, now: Instant) {
        let version = self.version(id);
        version.first_refused.get_or_insert(now);
        version.standing = Standing::Condemned { kind: Kind::PatRevoked, cause: "`patgate pat revoke`".to_owned() };
    }

    /// The store has been read for a newer version; `in_vain` says why it gave none.
    pub(super) fn was_read(&mut self, id: &PatId, in_vain: Option<&String>, now: Instant) {
        let version = self.version(id);
        if let Some(why) = in_vain {
            version.store.clone_from(why);
            version.read_in_vain = Some(now);
        }
        if let Standing::Suspect { read, .. } = &mut version.standing {
            *read = true;
        }
    }

    /// Whether the store has not been read since a version is suspect.
    pub(super) fn must_read(&self, id: &PatId) -> bool {
        matches!(self.find(id).map(|version| &version.standing), Some(Standing::Suspect { read: false, .. }))
    }

    /// When the gate's own login may go, if there is none under way. It needs a place too.
    pub(super) fn next_own(&self, id: &PatId, now: Instant) -> Option<Instant> {
        let version = self.find(id)?;
        let free = match version.taken() < version.width.max(1) {
            true => now,
            false => version.doubts.iter().map(|doubt| doubt.until).min()?,
        };
        (!version.own).then(|| version.next_own.unwrap_or(now).max(free))
    }

    /// When time alone frees a place.
    pub(super) fn next_free(&self, id: &PatId) -> Option<Instant> {
        self.find(id)?.doubts.iter().map(|doubt| doubt.until).min()
    }

    /// Other gates have all places for a while, which may be those of a gate that is gone: the own login finds out.
    pub(super) fn wants_proof(&mut self, id: &PatId) {
        self.version(id).wants_proof = true;
    }

    /// Whether an outcome changes something that a restart must not forget.
    pub(super) fn would_change(&self, id: &PatId, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Unsent | Outcome::Lost => false,
            Outcome::Refused(_) => true,
            Outcome::Accepted => {
                let marked = |version: &Version| version.standing != Standing::Sound || version.pause.is_some();
                self.condemned > 0 || self.pause.is_some() || self.find(id).is_some_and(marked)
            }
        }
    }

    /// Forgets what speaks against a user and its versions.
    pub(super) fn forget_refusals(&mut self) {
        (self.condemned, self.pause) = (0, None);
        self.contexts.forget();
        for version in &mut self.versions {
            (version.refusals, version.first_refused, version.pause) = (0, None, None);
            version.standing = Standing::Sound;
            (version.lost, version.next_own) = (0, None);
            version.accused.clear();
            version.doubts.clear();
        }
    }

    pub(super) fn refusals(&self, id: &PatId) -> usize {
        self.find(id).map_or(0, |version| version.refusals)
    }

    /// The state of a version, added if missing.
    pub(super) fn version(&mut self, id: &PatId) -> &mut Version {
        let at = self.versions.iter().position(|version| version.id == *id).unwrap_or_else(|| {
            self.versions.push(Version::new(id));
            self.trim();
            self.versions.len() - 1
        });
        &mut self.versions[at]
    }

    /// Forgets the oldest versions beyond the limit; versions without requests under way go first.
    pub(super) fn trim(&mut self) {
        while self.versions.len() > REMEMBERED {
            let done = self.versions.iter().position(|version| version.under_way == 0 && !version.own);
            self.versions.remove(done.filter(|at| at + 1 < self.versions.len()).unwrap_or(0));
        }
    }

    pub(super) fn find(&self, id: &PatId) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == *id)
    }
}
