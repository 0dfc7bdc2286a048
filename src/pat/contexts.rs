//! [`Contexts`]: what clients asked for when Snowflake refused them, although it accepts the gate's own login.
//!
//! Such a refusal is the client's own. The gate answers the same request from memory for a while, so that a client that
//! tries again and again costs no bad login each time. If a client finds several contexts that Snowflake refuses within
//! a minute, the gate answers all its requests from memory, but for those in a context that has worked.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::base::ids::PatId;
use crate::base::names::ClientName;

/// How long the gate answers from memory for the first time; it doubles each time.
const FIRST: Duration = Duration::from_secs(60);
/// The longest such time.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// So many different contexts that were refused within [`FIRST`] are no accident.
const MANY: usize = 3;
/// How many contexts of a client are remembered, of each kind.
const REMEMBERED: usize = 32;
/// How many clients are remembered. The configuration names them all, so a stranger adds none.
const CLIENTS: usize = 4096;

/// What a request asks for beside the PAT: role, warehouse, database and schema, as they are sent to Snowflake.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Context {
    /// The places, in the order of `crate::base::pins::Pins::places`.
    pub places: Vec<String>,
    /// Whether the client has composed any of it. If not, Snowflake judges a request of the gate's own form.
    pub is_client_s: bool,
}

/// The memory of one service user.
#[derive(Default)]
pub(super) struct Contexts {
    clients: HashMap<ClientName, Client>,
}

#[derive(Default)]
struct Client {
    refused: VecDeque<Refused>,
    worked: VecDeque<Context>,
    /// The last contexts that were found to be refused, and when.
    found: VecDeque<(Context, Instant)>,
    /// Contexts that were refused once, for a reason that may have been Snowflake's own trouble.
    once: VecDeque<(Context, Instant)>,
}

struct Refused {
    context: Context,
    version: PatId,
    until: Instant,
    length: Duration,
    cause: String,
}

impl Contexts {
    /// Snowflake's refusal of this request, if the gate answers it from memory.
    pub(super) fn refusal(
        &self,
        client: &ClientName,
        context: &Context,
        version: &PatId,
        now: Instant,
    ) -> Option<&str> {
        let client = self.clients.get(client)?;
        let open = |refused: &&Refused| refused.version == *version && now < refused.until;
        let same = client.refused.iter().filter(open).find(|refused| refused.context == *context);
        let many = client.found.iter().filter(|(_, at)| now.saturating_duration_since(*at) < FIRST).count() >= MANY;
        let any = || match many && !client.worked.contains(context) {
            true => client.refused.iter().rev().find(open),
            false => None,
        };
        same.or_else(any).map(|refused| refused.cause.as_str())
    }

    /// Snowflake refuses this request for what it asks for.
    pub(super) fn refused(
        &mut self,
        client: &ClientName,
        context: Context,
        version: &PatId,
        cause: &str,
        now: Instant,
    ) {
        let Some(client) = self.client(client) else { return };
        client.worked.retain(|worked| *worked != context);
        let same = |refused: &Refused| refused.context == context && refused.version == *version;
        let before = client.refused.iter().position(same).and_then(|at| client.refused.remove(at));
        let length = before.map_or(FIRST, |before| LONGEST.min(before.length * 2));
        let version = version.clone();
        client.found.retain(|(known, _)| *known != context);
        push(&mut client.found, (context.clone(), now));
        push(&mut client.refused, Refused { context, version, until: now + length, length, cause: cause.to_owned() });
    }

    /// Whether Snowflake has refused this request within a minute before, for a reason that may be its own trouble: the
    /// second time it is the request.
    pub(super) fn was_refused(&mut self, client: &ClientName, context: &Context, now: Instant) -> bool {
        let Some(client) = self.client(client) else { return true };
        client.once.retain(|(_, at)| now.saturating_duration_since(*at) < FIRST);
        let before = client.once.iter().any(|(once, _)| once == context);
        if !before {
            push(&mut client.once, (context.clone(), now));
        }
        before
    }

    /// Snowflake accepted such a request.
    pub(super) fn worked(&mut self, client: &ClientName, context: &Context) {
        let Some(client) = self.client(client) else { return };
        client.refused.retain(|refused| refused.context != *context);
        client.once.retain(|(once, _)| once != context);
        if !client.worked.contains(context) {
            push(&mut client.worked, context.clone());
        }
    }

    /// What is remembered of a client; `None` where there are too many.
    fn client(&mut self, name: &ClientName) -> Option<&mut Client> {
        let known = self.clients.contains_key(name);
        if !known && self.clients.len() < CLIENTS {
            self.clients.insert(name.clone(), Client::default());
        }
        self.clients.get_mut(name)
    }

    /// Whether the gate answers nothing from memory now.
    pub(super) fn are_calm(&self, now: Instant) -> bool {
        self.clients.values().all(|client| client.refused.iter().all(|refused| refused.until <= now))
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.clients.clear();
    }
}

fn push<T>(to: &mut VecDeque<T>, one: T) {
    if to.len() >= REMEMBERED {
        to.pop_front();
    }
    to.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock};

    fn context(role: &str) -> Context {
        Context { places: vec![role.to_owned()], is_client_s: true }
    }

    #[test]
    fn the_same_request_is_answered_from_memory_for_longer_each_time() {
        let (mut contexts, clock) = (Contexts::default(), ManualClock::start());
        let (bi, id) = (ClientName::parse("bi").unwrap(), PatId::trusted("a"));
        for seconds in [60, 120, 240, 480, 900, 900] {
            contexts.refused(&bi, context("ODD"), &id, "no", clock.now());
            clock.advance(Duration::from_secs(seconds - 1));
            assert_eq!(contexts.refusal(&bi, &context("ODD"), &id, clock.now()), Some("no"));
            assert_eq!(contexts.refusal(&bi, &context("GOOD"), &id, clock.now()), None);
            assert_eq!(contexts.refusal(&bi, &context("ODD"), &PatId::trusted("b"), clock.now()), None);
            clock.advance(Duration::from_secs(1));
            assert_eq!(contexts.refusal(&bi, &context("ODD"), &id, clock.now()), None);
        }
        contexts.worked(&bi, &context("ODD"));
        contexts.refused(&bi, context("ODD"), &id, "no", clock.now());
        clock.advance(Duration::from_secs(60));
        assert_eq!(contexts.refusal(&bi, &context("ODD"), &id, clock.now()), None);
    }

    #[test]
    fn a_client_that_finds_one_refused_context_after_another_keeps_those_that_work() {
        let (mut contexts, clock) = (Contexts::default(), ManualClock::start());
        let (bi, id) = (ClientName::parse("bi").unwrap(), PatId::trusted("a"));
        contexts.refused(&bi, context("1"), &id, "no", clock.now());
        contexts.worked(&bi, &context("GOOD"));
        contexts.refused(&bi, context("2"), &id, "no", clock.now());
        assert_eq!(contexts.refusal(&bi, &context("3"), &id, clock.now()), None);
        contexts.refused(&bi, context("3"), &id, "no", clock.now());
        assert_eq!(contexts.refusal(&bi, &context("4"), &id, clock.now()), Some("no"));
        assert_eq!(contexts.refusal(&bi, &context("GOOD"), &id, clock.now()), None);
        let other = ClientName::parse("other").unwrap();
        assert_eq!(contexts.refusal(&other, &context("4"), &id, clock.now()), None);
        clock.advance(FIRST);
        assert_eq!(contexts.refusal(&bi, &context("4"), &id, clock.now()), None);
    }
}
