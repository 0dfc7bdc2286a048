//! The way to each account: name, TCP, forward proxy, TLS, as the gate connects. Nothing is sent.

use super::finding::Finding;
use crate::base::fault::Fault;
use crate::config::Config;
use crate::upstream::{AccountClient, AccountState};

/// Opens a connection to each account, all at once.
pub(super) async fn reach(config: &Config) -> Vec<Finding> {
    let mut tries = Vec::new();
    for (name, account) in &config.accounts {
        let key = format!("accounts.{name}");
        // An account that cannot be set up is told by the look at the files.
        let Ok(state) = AccountState::new(account, &config.upstream, None) else { continue };
        let Ok(client) = AccountClient::new(&state, None) else { continue };
        let way = match &account.proxy {
            None => account.connect_to(),
            Some(proxy) => format!("{} through the proxy {}", account.connect_to(), proxy.address),
        };
        tries.push(tokio::spawn(async move {
            match client.reach().await.map_err(Fault::from) {
                Ok(()) => Finding::ok(key, format!("{way} is reached, and its certificate verified")),
                Err(fault) => {
                    let rule = fault.kind().rule();
                    let step = fault.kind().page().next_step.trim_end_matches('.');
                    Finding::error(key, format!("{} ({})", fault.cause(), rule.code), step).of(rule.owner)
                }
            }
        }));
    }
    let mut found = Vec::new();
    for one in tries {
        found.extend(one.await);
    }
    found
}
