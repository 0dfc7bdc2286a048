//! The log line of a finished request.
//!
//! Logins and REST requests have a line each, and every failure; other requests are many, so that their level is debug.
//! A login that took longer than [`SLOW`] is a warning that says whose time it was; so is a session that did not get
//! what was asked for, and a login whose client did not wait for it. Other requests that a client leaves are its daily
//! business.

use std::time::Duration;

use crate::base::epoch::millis;
use crate::base::fault::{Kind, Level};
use crate::base::ids::PatId;
use crate::base::names::ClientName;
use crate::snowflake::route::Route;

use super::facts::{Ending, Facts, LoginFacts, Step};

/// A login that takes longer is a warning.
const SLOW: Duration = Duration::from_secs(5);

/// Writes it.
pub(super) fn write(facts: &Facts) {
    match &facts.ending {
        Ending::Complete => served(facts, "success"),
        Ending::Open | Ending::Answered => served(facts, "the client left"),
        Ending::Refused(..) | Ending::Failed(_) | Ending::BrokeOff(_) => failed(facts),
    }
}

fn ms(facts: &Facts, step: Step) -> Option<u64> {
    facts.steps.after(step).map(millis)
}

fn served(facts: &Facts, outcome: &str) {
    let rule = facts.ending.kind().map(Kind::rule);
    let (kind, code) = (rule.map(|rule| rule.name), rule.map(|rule| rule.code.to_string()));
    let (client, account) = (facts.client.as_ref().map(ClientName::as_str), facts.account.as_deref());
    let (credential, pat) = (facts.credential.as_deref(), facts.pat.as_ref().map(PatId::as_str));
    let took = millis(facts.took());
    match facts.route {
        Route::Login => login(facts, outcome),
        Route::Rest => {
            tracing::info!(
                trace = %facts.trace,
                peer = %facts.peer,
                client,
                account,
                credential,
                pat,
                status = facts.status,
                outcome,
                kind,
                code,
                leased_ms = ms(facts, Step::Leased),
                answered_ms = ms(facts, Step::Answered),
                bytes = facts.bytes_down,
                ms = took,
                "rest"
            );
        }
        Route::Renew | Route::Stream(_) | Route::Foreign | Route::WrongMethod | Route::Unknown => {
            tracing::debug!(
                trace = %facts.trace,
                peer = %facts.peer,
                client,
                account,
                sealed = facts.session.map(tracing::field::display),
                route = facts.route.as_str(),
                query_id = facts.query_id.as_deref(),
                status = facts.status,
                outcome,
                kind,
                code,
                answered_ms = ms(facts, Step::Answered),
                bytes = facts.bytes_down,
                ms = took,
                "request"
            );
        }
    }
}

fn login(facts: &Facts, outcome: &str) {
    let none = LoginFacts::default();
    let login = facts.login.as_deref().unwrap_or(&none);
    let took = facts.took();
    macro_rules! line {
        ($level:ident, $message:literal $(, $name:ident = $value:expr)*) => {
            tracing::$level!(
                trace = %facts.trace,
                peer = %facts.peer,
                client = facts.client.as_ref().map(ClientName::as_str),
                account = facts.account.as_deref(),
                credential = facts.credential.as_deref(),
                pat = facts.pat.as_ref().map(PatId::as_str),
                session = login.session.as_deref(),
                sealed = facts.session.map(tracing::field::display),
                role = login.role.as_deref(),
                warehouse = login.warehouse.as_deref(),
                driver = login.driver.as_deref(),
                driver_version = login.driver_version.as_deref(),
                application = login.application.as_deref(),
                typed_user = login.typed_user.as_deref(),
                attempts = facts.attempts(),
                outcome,
                admitted_ms = ms(facts, Step::Admitted),
                store_ms = store_ms(facts),
                leased_ms = ms(facts, Step::Leased),
                answered_ms = ms(facts, Step::Answered),
                ms = millis(took),
                $($name = $value,)*
                $message
            )
        };
    }
    let unset: Vec<_> = login.unset.iter().map(ToString::to_string).collect();
    let unset = (!unset.is_empty()).then(|| unset.join(", "));
    if let Some(kind) = facts.ending.kind() {
        let (rule, next_step) = (kind.rule(), kind.page().next_step);
        let (code, owner, (whose, longest)) = (rule.code.to_string(), rule.owner.as_str(), facts.longest());
        line!(
            warn,
            "login",
            kind = rule.name,
            code = code,
            owner = owner,
            longest = whose,
            longest_ms = millis(longest),
            unset = unset,
            next_step = next_step
        );
    } else if unset.is_some() {
        let rule = Kind::ContextUnset.rule();
        let (code, next_step) = (rule.code.to_string(), Kind::ContextUnset.page().next_step);
        line!(warn, "login", unset = unset, code = code, next_step = next_step);
    } else if took > SLOW {
        let (whose, longest) = facts.longest();
        line!(warn, "slow login", longest = whose, longest_ms = millis(longest));
    } else {
        line!(info, "login");
    }
}

/// How long it waited for a store.
fn store_ms(facts: &Facts) -> Option<u64> {
    let waits = facts.store_waits();
    (!waits.is_empty()).then(|| millis(waits.iter().map(|wait| wait.time).sum()))
}

/// One line about a request that went wrong.
fn failed(facts: &Facts) {
    let Some(kind) = facts.ending.kind() else { return };
    let (rule, said) = (kind.rule(), facts.ending.said());
    let login = facts.login.as_deref();
    // Whose time it was, of what took long.
    let slow = (facts.took() > SLOW).then(|| facts.longest());
    let attempts = (facts.attempts() > 1).then(|| facts.attempts());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                trace = %facts.trace,
                kind = rule.name,
                code = %rule.code,
                owner = rule.owner.as_str(),
                cause = facts.ending.cause(),
                likely = facts.ending.likely(),
                snowflake_code = said.map(|said| &*said.code),
                snowflake_text = said.map(|said| &*said.text),
                uuid = said.and_then(|said| said.uuid()),
                peer = %facts.peer,
                listener = &*facts.listener,
                route = facts.route.as_str(),
                client = facts.client.as_ref().map(ClientName::as_str),
                account = facts.account.as_deref(),
                credential = facts.credential.as_deref(),
                pat = facts.pat.as_ref().map(PatId::as_str),
                driver = login.and_then(|login| login.driver.as_deref()),
                application = login.and_then(|login| login.application.as_deref()),
                typed_user = login.and_then(|login| login.typed_user.as_deref()),
                bytes = facts.bytes_down,
                attempts,
                store_ms = store_ms(facts),
                longest = slow.map(|(whose, _)| whose),
                longest_ms = slow.map(|(_, time)| millis(time)),
                ms = millis(facts.took()),
                next_step = kind.page().next_step,
                "request failed"
            )
        };
    }
    match rule.level {
        Level::Error => line!(error),
        Level::Warn => line!(warn),
        Level::Debug => line!(debug),
    }
}
