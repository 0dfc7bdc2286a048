//! `patgate client list`.

use clap::Args;
use serde_json::json;

use crate::cli::shell::{CommandError, ConfigArgs, say, say_table};
use crate::config::{Client, file};

/// Whose configuration.
#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// The command.
pub(super) fn list(args: &ListArgs) -> Result<(), CommandError> {
    let (config, _) = file::load(&args.config.file()?).map_err(CommandError::gate)?;
    let joined = |all: Vec<String>, none: &str| if all.is_empty() { none.to_owned() } else { all.join(", ") };
    let how = |client: &Client| {
        let mut factors = vec![match client.keys.len() {
            0 => "no key".to_owned(),
            1 => "a key".to_owned(),
            more => format!("{more} keys"),
        }];
        factors.extend((!client.certificates.is_empty()).then(|| "certificate".to_owned()));
        factors.extend(client.trust_loopback.then(|| "trusted on this machine".to_owned()));
        factors.join(", ")
    };
    if args.config.json {
        let all: Vec<_> = config
            .clients
            .iter()
            .map(|(name, client)| {
                let networks: Vec<_> = client.networks.iter().map(ToString::to_string).collect();
                json!({
                    "client": name.as_str(), "credential": &*client.credential, "keys": client.keys.len(),
                    "networks": networks, "listeners": client.listeners.iter().map(|one| &**one).collect::<Vec<_>>(),
                })
            })
            .collect();
        say(&json!({ "clients": all }).to_string());
        return Ok(());
    }
    let rows: Vec<_> = config
        .clients
        .iter()
        .map(|(name, client)| {
            let networks = joined(client.networks.iter().map(ToString::to_string).collect(), "none");
            let listeners = joined(client.listeners.iter().map(ToString::to_string).collect(), "all");
            [name.to_string(), client.credential.to_string(), how(client), networks, listeners]
        })
        .collect();
    say_table(["CLIENT", "CREDENTIAL", "BY", "FROM", "LISTENERS"], &rows);
    Ok(())
}
