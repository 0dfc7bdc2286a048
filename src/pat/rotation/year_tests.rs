//! A year of fifty service users on the seam clock, against the stand-in's strict rules about tokens; beside them a
//! dozen whose PATs a person makes anew when the gate warns.

use std::sync::Arc;

use super::*;
use crate::base::clock::{Clock, Env, ManualClock, SystemRandom};
use crate::base::rfc3339;
use crate::pat::forecast::Warnings;
use crate::pat::status::PatStatus;
use crate::snowflake::token_statement::TokenStatement;
use crate::standin::{State, TokenState, UserSettings};

const HOURS: u64 = 365 * 24;
/// `pat.warn`, in days.
const WARN: [u64; 4] = [14, 7, 3, 1];

/// A service user with its token, its journal, and what its store has.
struct User {
    name: String,
    terms: Terms,
    entry: Entry,
    stored: PatId,
    /// When the gate cannot reach Snowflake, in hours from the start.
    outage: std::ops::Range<u64>,
    /// When somebody else rotates, in hours from the start.
    foreign: Option<u64>,
    rotations: Vec<SystemTime>,
    /// When the next rotation is due, as the last look says.
    next: Option<SystemTime>,
    warnings: Warnings,
}

/// What the status says of a PAT that ends then.
fn status(credential: &str, version: &str, ends: SystemTime, next: Option<SystemTime>) -> PatStatus {
    let held = serde_json::json!({
        "id": version, "version": "1", "from": "f:pat", "created": null, "expires": rfc3339::show(ends), "age_s": 1,
        "usable": true, "overdue": false, "warm": false, "refused": false
    });
    let pat = serde_json::json!({
        "credential": credential, "warn_s": WARN.map(|days| days * 86_400), "references": [], "ready": true,
        "held": held, "failure": null, "losers": [],
        "successor": next.filter(|next| *next < ends).map(|_| "the gate rotates it"),
    });
    serde_json::from_value(pat).unwrap()
}

/// A service user whose PAT a person makes anew, 40 hours before its end.
struct Hand {
    name: String,
    life: u64,
    ends: SystemTime,
    version: u64,
    warnings: Warnings,
    given: Vec<u64>,
}

impl Hand {
    fn new(number: u64, now: SystemTime) -> Self {
        let life = [15, 30, 90, 180][usize::try_from(number % 4).unwrap()];
        let (ends, warnings) = (now + days(life), Warnings::default());
        Self { name: format!("HAND_{number}"), life, ends, version: 0, warnings, given: Vec::new() }
    }

    fn step(&mut self, now: SystemTime) {
        let status = status(&self.name, &self.version.to_string(), self.ends, None);
        let left = self.ends.duration_since(now).unwrap();
        for warning in self.warnings.due(&[status], now) {
            // In time: within the hour in which so many days are left.
            let (days, left) = (warning.days_left + 1, warning.ends.duration_since(now).unwrap());
            assert!(WARN.contains(&days) && left < DAY * u32::try_from(days).unwrap(), "{}: {warning:?}", self.name);
            self.given.push(days);
        }
        if left <= HOUR * 40 {
            assert_eq!(self.given, WARN[..3], "{}: {:?} of a life of {} days", self.name, self.given, self.life);
            (self.ends, self.version) = (now + days(self.life), self.version + 1);
            self.given.clear();
        }
    }
}

fn token(state: TokenState) -> ShownToken {
    let status = match state.status.as_str() {
        "ACTIVE" => TokenStatus::Active,
        "EXPIRED" => TokenStatus::Expired,
        _ => TokenStatus::Disabled,
    };
    let (created, expires) = (Some(state.created_on), Some(state.expires_at));
    ShownToken { name: state.name, role: state.role, status, created, expires, rotated_to: state.rotated_to }
}

impl User {
    fn new(number: u64, state: &State, now: SystemTime) -> Self {
        let name = format!("USER_{number}");
        state.set_user(&name, UserSettings::default());
        state.allow_changes("ROTATOR", &name, true);
        let life = [15, 30, 90, 180, 365][usize::try_from(number % 5).unwrap()];
        let every = days([1, 7, 30, 60, 90, 300][usize::try_from(number % 6).unwrap()]);
        let overlap = HOUR * [0, 1, 24, 72][usize::try_from(number % 4).unwrap()];
        let lifetime = number.is_multiple_of(7).then(|| (every + overlap + days(20)).min(days(365)));
        state.add_token(&name, "T", Some("R"), Some(life)).unwrap();
        let terms = Terms { token: "T".into(), every, overlap, lifetime, role: None };
        let begin = 500 + number * 97 % 3_000;
        let (outage, foreign) = (begin..begin + number % 3 * 8, (number % 8 == 3).then_some(2_000 + number));
        let stored = PatId::trusted(&state.tokens(&name)[0].fingerprint);
        let mut entry = Entry::default();
        entry.saw(&stored, EpochMillis::of(now));
        Self {
            name,
            terms,
            entry,
            stored,
            outage,
            foreign,
            rotations: Vec::new(),
            next: None,
            warnings: Warnings::default(),
        }
    }

    fn tokens(&self, state: &State) -> Vec<ShownToken> {
        state.tokens(&self.name).into_iter().map(token).collect()
    }

    fn run(&self, state: &State, statement: TokenStatement<'_>) {
        let ran = state.run_as("ROTATOR", &statement.sql(&self.name));
        assert!(ran.is_ok(), "{}: {} {}", self.name, statement.sql(&self.name), ran.unwrap_err().text);
    }

    fn version(&self, state: &State) -> PatId {
        let tokens = state.tokens(&self.name);
        PatId::trusted(&tokens.iter().rfind(|one| one.name == "T").unwrap().fingerprint)
    }

    /// One hour of the gate.
    fn step(&mut self, state: &State, hour: u64, now: SystemTime) {
        if self.foreign == Some(hour) {
            // Terraform, say: the store has the new one at once, and the gate finds it there.
            self.run(state, TokenStatement::Rotate { token: "T", hours: 24 });
            self.stored = self.version(state);
            assert!(self.entry.saw(&self.stored, EpochMillis::of(now)), "it is taken over");
        }
        if self.outage.contains(&hour) {
            return;
        }
        let due = |removal: &Removal| removal.at <= EpochMillis::of(now);
        for Removal { name, .. } in self.entry.removals.extract_if(.., |removal| due(removal)).collect::<Vec<_>>() {
            if self.tokens(state).iter().any(|token| token.name == name) {
                self.run(state, TokenStatement::Remove { token: &name });
            }
        }
        let (tokens, uses) = (self.tokens(state), Uses::default());
        let situation =
            Situation { terms: &self.terms, tokens: &tokens, entry: &self.entry, uses: &uses, refused: false, now };
        match situation.plan(None) {
            Plan::Wait(until) => {
                assert!(until > now);
                self.next = Some(until);
            }
            Plan::Cannot(failure) => panic!("{}: {failure:?}", self.name),
            Plan::Make(making) => self.rotate(state, &making, now),
        }
    }

    fn rotate(&mut self, state: &State, making: &Making, now: SystemTime) {
        for name in &making.first {
            self.run(state, TokenStatement::Remove { token: name });
        }
        match &making.how {
            How::Rotate { hours } => self.run(state, TokenStatement::Rotate { token: "T", hours: *hours }),
            How::Add { rename, role, days, .. } => {
                if let Some(to) = rename {
                    self.run(state, TokenStatement::Rename { token: "T", to });
                }
                self.run(state, TokenStatement::Add { token: "T", role: role.as_deref(), days: *days });
            }
        }
        let old = state.tokens(&self.name).into_iter().find(|one| one.fingerprint == self.stored.as_str());
        let old_name = old.map(|old| old.name);
        if let Some(name) = old_name.as_ref().filter(|_| making.remove_old) {
            self.run(state, TokenStatement::Remove { token: name });
        }
        self.stored = self.version(state);
        let new = self.stored.clone();
        journaled(&mut self.entry, making, &new, old_name, now);
        let tokens = self.tokens(state);
        let surplus = (living(&tokens, now) + 1).saturating_sub(tidy::MANY);
        let free = tidy::removable("T", &tokens, &self.entry, &Uses::default(), now);
        free.iter().take(surplus).for_each(|name| self.run(state, TokenStatement::Remove { token: name }));
        self.rotations.push(now);
    }

    /// What must hold in every hour.
    fn check(&mut self, state: &State, hour: u64, now: SystemTime) {
        let tokens = self.tokens(state);
        let stored = state.tokens(&self.name).into_iter().find(|one| one.fingerprint == self.stored.as_str());
        let stored = stored.unwrap_or_else(|| panic!("{}: the store has a token that is gone", self.name));
        assert!(stored.expires_at > now, "{}: the token in the store has ended", self.name);
        assert!(living(&tokens, now) <= MOST, "{}: {} tokens", self.name, living(&tokens, now));
        if !hour.is_multiple_of(12) {
            return;
        }
        let status = status(&self.name, self.stored.as_str(), stored.expires_at, self.next);
        let warned = self.warnings.due(&[status], now);
        assert!(warned.is_empty(), "{}: a successor stands ready: {warned:?}", self.name);
    }
}

#[test]
fn a_year_of_fifty_users_is_rotated_in_time_warned_of_in_time_and_never_hits_the_cap() {
    let clock = ManualClock::start();
    let env = Env { clock: clock.clone(), random: Arc::new(SystemRandom) };
    let state = State::new(env);
    let mut users: Vec<_> = (0..50).map(|number| User::new(number, &state, clock.wall())).collect();
    let mut hands: Vec<_> = (0..12).map(|number| Hand::new(number, clock.wall())).collect();
    for hour in 0..HOURS {
        let now = clock.wall();
        for user in &mut users {
            user.step(&state, hour, now);
            user.check(&state, hour, now);
        }
        hands.iter_mut().for_each(|hand| hand.step(now));
        clock.advance(HOUR);
    }
    for user in &users {
        let longest = user.outage.end - user.outage.start;
        let late = HOUR * u32::try_from(longest + 1).unwrap();
        for two in user.rotations.windows(2) {
            let apart = two[1].duration_since(two[0]).unwrap();
            assert!(apart >= APART, "{}: twice in a day", user.name);
            assert!(
                apart <= user.terms.every.max(DAY) + late + user.foreign.map_or(Duration::ZERO, |_| user.terms.every),
                "{}: late by {apart:?}",
                user.name
            );
        }
        let most = 365 * 86_400 / user.terms.every.as_secs().max(86_400);
        assert!(!user.rotations.is_empty() || user.terms.every > days(200), "{}: never", user.name);
        assert!(user.rotations.len() as u64 <= most.max(30) + 1, "{}: {}", user.name, user.rotations.len());
    }
}
