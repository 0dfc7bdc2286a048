//! The way to each account: name, TCP, forward proxy, TLS; and the clock, by the time at Snowflake.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::step::{Link, Step};
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::pat::Accounts;
use crate::tls::Shown;
use crate::upstream::{AccountClient, AccountState, Look};

/// How far the clock may be off.
const SKEW: Duration = Duration::from_secs(60);
/// How long the question for the time may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The steps of all accounts, side by side.
pub(super) async fn steps(accounts: &Accounts, env: &Env) -> Vec<Step> {
    let mut tasks = Vec::new();
    for (name, account) in accounts {
        let (name, account, env) = (name.clone(), account.clone(), env.clone());
        tasks.push(tokio::spawn(async move {
            // The clock is told by a request beside the look, so that both fit into the time.
            let (look, clock) = tokio::join!(account.look(&*env.clock), clock(&name, &account, &env));
            let mut steps = of_look(&name, &look);
            if let Some(tls) = steps.last_mut().filter(|step| step.ok == Some(true) && is_inspected(&look)) {
                tls.next_step = Some(INSPECTED.to_owned());
            }
            if look.tls.ok == Some(true) {
                steps.extend(clock);
            }
            steps
        }));
    }
    let mut steps = Vec::new();
    for task in tasks {
        steps.extend(task.await.unwrap_or_default());
    }
    steps
}

/// Public CAs of which Snowflake has certificates, on its three clouds, or might have.
const PUBLIC: [&str; 7] = ["Amazon", "Starfield", "DigiCert", "Google Trust", "GTS", "Microsoft", "GlobalSign"];
const INSPECTED: &str = "If the issuer is your company's, a proxy on the way opens TLS, and reads PATs and results: \
                         exempt Snowflake from inspection.";

/// Whether a trusted certificate may be that of a proxy that opens TLS: no public CA that is known has signed it.
fn is_inspected(look: &Look) -> bool {
    let known = |shown: &Shown| PUBLIC.iter().any(|ca| shown.issuer.contains(ca) || shown.top.contains(ca));
    look.shown.as_ref().is_some_and(|shown| !known(shown))
}

/// The steps of a look.
pub(super) fn of_look(name: &str, look: &Look) -> Vec<Step> {
    let mut steps = vec![Step::of(Link::Dns, name, &look.resolve), Step::of(Link::Tcp, name, &look.connect)];
    steps.extend(look.proxy.as_ref().map(|proxy| Step::of(Link::Proxy, name, proxy)));
    steps.push(Step::of(Link::Tls, name, &look.tls));
    steps
}

async fn clock(name: &str, account: &Arc<AccountState>, env: &Env) -> Option<Step> {
    let begun = env.clock.now();
    let client = AccountClient::new(account, None).ok()?;
    let there = timeout(PATIENCE, client.time()).await.ok()?.ok()?;
    let here = env.clock.wall();
    let Some(there) = there else {
        return Some(Step::unknown(Link::Clock, name, "the answer has no Date").since(&*env.clock, begun));
    };
    let off = here.duration_since(there).unwrap_or_else(|ahead| ahead.duration());
    let what = format!("{} here, {} there", rfc3339::show(here), rfc3339::show(there));
    let step = match off > SKEW {
        true => Step::bad(Link::Clock, name, Owner::Gate, what)
            .next("Set the clock of this machine (NTP): certificates and stores' logins depend on it."),
        false => Step::good(Link::Clock, name, what),
    };
    Some(step.since(&*env.clock, begun))
}
