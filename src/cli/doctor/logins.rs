//! The steps of a login with each credential, and the hosts that results come from.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::step::{Link, Step};
use crate::base::clock::Env;
use crate::base::fault::{Fault, Kind};
use crate::base::trial::Trial;
use crate::cli::logins::prove;
use crate::cli::place::Place;
use crate::config::{Account, Config};
use crate::pat::{Accounts, Proof};
use crate::snowflake::statement::AllowedHost;

/// How long a login may take; the hosts come after it.
const PATIENCE: Duration = Duration::from_secs(12);
/// The kind of the hosts that hold results and stages.
const STAGE: &str = "STAGE";
/// How many hosts are tried.
const HOSTS: usize = 64;

const NONE: &str = "not tried: there is no session";

/// The steps of all credentials, side by side.
pub(super) async fn steps(config: &Config, place: &Place, accounts: &Accounts, env: &Env) -> Vec<Step> {
    let proofs = prove(config, place, PATIENCE).await;
    let mut tasks = Vec::new();
    for (credential, proof) in proofs {
        let named = config.credentials.get(&credential).map(|one| one.account.clone()).unwrap_or_default();
        let (account, accounts, env) = (config.accounts.get(&named).cloned(), accounts.clone(), env.clone());
        tasks.push(tokio::spawn(async move {
            match proof {
                Ok(proof) => {
                    let mut steps = of_proof(&credential, &proof);
                    if let Some(account) = account {
                        steps.push(hosts(&credential, proof.hosts, &account, (&named, &accounts), &env).await);
                    }
                    steps.push(Step::of(Link::SqlApi, &*credential, &tried(proof.sql_api)));
                    steps
                }
                Err(why) => {
                    let next = "Run it as the gate's user, or as an operator of the running gate (admin.users).";
                    vec![Step::unknown(Link::Login, &*credential, format!("no login was sent: {why}")).next(next)]
                }
            }
        }));
    }
    let mut steps = Vec::new();
    for task in tasks {
        steps.extend(task.await.unwrap_or_default());
    }
    steps
}

fn of_proof(credential: &str, proof: &Proof) -> Vec<Step> {
    let mut steps = vec![Step::of(Link::Login, credential, &proof.login)];
    let session = proof.login.ok == Some(true);
    let told: Vec<_> = proof
        .places
        .iter()
        .map(|place| {
            let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.to_owned());
            format!("{}: asked {}, got {}", place.place, or(&place.asked, "nothing"), or(&place.got, "none"))
        })
        .collect();
    steps.push(match proof.places.iter().find(|place| !place.is_right()) {
        _ if !session => Step::unknown(Link::Context, credential, NONE),
        Some(wrong) => {
            let what = format!("the session has another {} than the credential asks for", wrong.place);
            Step::failed(Link::Context, credential, Kind::CredentialContext, what).with(told)
        }
        None => Step::good(Link::Context, credential, told.join("; ")),
    });
    steps.push(match proof.address {
        Some(address) if session => Step::good(Link::Address, credential, format!("Snowflake sees {address}")),
        Some(address) => {
            let what = format!("Snowflake sees {address}, which its network policy does not let in");
            Step::failed(Link::Address, credential, Kind::PatPolicy, what)
        }
        None if session => Step::unknown(Link::Address, credential, "Snowflake does not say"),
        None => Step::unknown(Link::Address, credential, NONE),
    });
    steps.push(Step::of(Link::Select, credential, &tried(proof.query.clone())));
    steps
}

/// A trial that says why it was not tried.
fn tried(trial: Trial) -> Trial {
    match trial.ok {
        None if trial.what.is_empty() => Trial::untried(NONE),
        _ => trial,
    }
}

/// Whether the hosts are reached from here. The account's own host is, where an address stands in its place.
async fn hosts(
    credential: &str,
    hosts: Option<Vec<AllowedHost>>,
    account: &Account,
    (named, accounts): (&Arc<str>, &Accounts),
    env: &Env,
) -> Step {
    let link = Link::Hosts;
    let (Some(hosts), Some(state)) = (hosts, accounts.get(named)) else {
        return Step::unknown(link, credential, "not tried: Snowflake has not told the hosts (SYSTEM$ALLOWLIST)");
    };
    let begun = env.clock.now();
    let own = |host: &AllowedHost| account.address.is_some() && host.host.eq_ignore_ascii_case(&account.host);
    let mut tries = JoinSet::new();
    let all = hosts.len();
    for host in hosts.into_iter().filter(|host| !own(host)).take(HOSTS) {
        let state = state.clone();
        tries.spawn(async move {
            let reached = state.reaches(&host.host, host.port).await;
            (host, reached)
        });
    }
    let mut missed: Vec<(AllowedHost, Fault)> = Vec::new();
    while let Some(tried) = tries.join_next().await {
        if let Ok((host, Err(fault))) = tried {
            missed.push((host, fault));
        }
    }
    missed.sort_by_key(|(host, _)| (host.kind != STAGE, host.host.clone()));
    let lines = missed
        .iter()
        .map(|(host, fault)| format!("{}:{} ({}): {}", host.host, host.port, host.kind, fault.cause()))
        .collect();
    let step = match missed.first() {
        Some((host, fault)) if host.kind == STAGE => {
            let what = format!("{}:{}, from which results come, is not reached", host.host, host.port);
            Step::failed(link, credential, fault.kind(), what)
                .next("Open the firewall to these hosts, from here and from the tools' machines.")
        }
        Some(_) => {
            let what = format!("{} of {all} hosts are not reached; results come from none of them", missed.len());
            Step::good(link, credential, what)
        }
        None => Step::good(link, credential, format!("all {all} hosts are reached")),
    };
    step.with(lines).since(&*env.clock, begun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::Owner;

    fn proof(asked: Option<&str>, got: Option<&str>) -> Proof {
        let proof = serde_json::json!({
            "credential": "c", "version": null, "sent": true, "login": { "ok": true, "ms": 1, "what": "" },
            "places": [{ "place": "role", "asked": asked, "got": got }],
            "query": { "ok": true, "ms": 1, "what": "" }, "sql_api": { "ok": null, "ms": 0, "what": "" }, "hosts": null,
        });
        serde_json::from_value(proof).unwrap()
    }

    #[test]
    fn another_role_than_the_credential_asks_for_is_the_gate_s_to_mend() {
        for (asked, got, fails) in [
            (Some("BI"), Some("PUBLIC"), Some(Owner::Gate)),
            (Some("BI"), None, Some(Owner::Gate)),
            (Some("bi"), Some("BI"), None),
            (None, Some("PUBLIC"), None),
            (None, None, None),
        ] {
            let steps = of_proof("c", &proof(asked, got));
            assert_eq!(steps[1].fails(), fails, "{asked:?} {got:?}");
            assert!(steps[1].text().contains("role: asked"), "{}", steps[1].text());
        }
    }
}
