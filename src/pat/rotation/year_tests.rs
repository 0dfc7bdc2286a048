//! A year of fifty service users on the seam clock, against the stand-in's strict rules about tokens.

use std::sync::Arc;

use super::*;
use crate::base::clock::{Clock, Env, ManualClock, SystemRandom};
use crate::snowflake::token_statement::TokenStatement;
use crate::standin::{State, TokenState, UserSettings};

const HOURS: u64 = 365 * 24;

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
        Self { name, terms, entry, stored, outage, foreign, rotations: Vec::new() }
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
            Plan::Wait(until) => assert!(until > now),
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
    fn check(&self, state: &State, now: SystemTime) {
        let tokens = self.tokens(state);
        let stored = state.tokens(&self.name).into_iter().find(|one| one.fingerprint == self.stored.as_str());
        let stored = stored.unwrap_or_else(|| panic!("{}: the store has a token that is gone", self.name));
        assert!(stored.expires_at > now, "{}: the token in the store has ended", self.name);
        assert!(living(&tokens, now) <= MOST, "{}: {} tokens", self.name, living(&tokens, now));
    }
}

#[test]
fn a_year_of_fifty_users_is_rotated_in_time_and_the_cap_is_never_hit() {
    let clock = ManualClock::start();
    let env = Env { clock: clock.clone(), random: Arc::new(SystemRandom) };
    let state = State::new(env);
    let mut users: Vec<_> = (0..50).map(|number| User::new(number, &state, clock.wall())).collect();
    for hour in 0..HOURS {
        let now = clock.wall();
        for user in &mut users {
            user.step(&state, hour, now);
            user.check(&state, now);
        }
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
