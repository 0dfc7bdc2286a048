//! [`Target`]: a client of the gate, to which logins are moved: from a configuration, or from the command line on a
//! machine that has none.

use std::path::PathBuf;

use clap::Args;

use super::login::{Login, bare_host, is_snowflake};
use crate::admit::key::{self, ClientKey};
use crate::app::WayIn;
use crate::base::fault::Owner;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::cli::cert::check_name;
use crate::cli::client::server;
use crate::cli::shell::CommandError;
use crate::cli::usual::{self, CONFIG};
use crate::config::{Config, file};

/// Where logins are moved to.
#[derive(Args)]
pub(super) struct TargetArgs {
    #[arg(long, env = "PATGATE_CONFIG", value_name = "FILE", conflicts_with = "gate")]
    #[arg(help = format!("The configuration, with the clients to move to [default: {CONFIG}, where there is one]"))]
    config: Option<PathBuf>,
    /// Instead of a configuration: the gate that the tools of this machine reach.
    #[arg(long, value_name = "HOST:PORT", requires_all = ["account", "user"])]
    gate: Option<String>,
    /// With `--gate`: the host of the account whose logins are moved. Else: another host of the client's account.
    #[arg(long, value_name = "HOST")]
    account: Vec<String>,
    /// A user whose logins are moved: with `--gate` the service user, else another than the client's.
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// The client to move to, where several would do.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The file with the client's key, which replaces passwords and tokens; needed to write where one stands.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// A client, and which logins it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub client: String,
    pub host: String,
    pub port: u16,
    /// The names of its account, in small letters: hosts, and what drivers call the account.
    accounts: Vec<String>,
    /// The users whose logins move to it.
    users: Vec<String>,
    /// The hashes that a key of it may have; empty if they are not known.
    keys: Vec<String>,
}

impl Target {
    /// Whether a login is one to this client's account. Where a host stands, it says where a driver connects.
    pub(super) fn is_for(&self, login: &Login<'_>) -> bool {
        let place = login.server.or(login.account);
        place.is_some_and(|spot| names_of(spot.value.expose()).iter().any(|name| self.accounts.contains(name)))
    }

    /// Whether it is for logins of this user; a tool that asks for the user has none in its file.
    pub(super) fn is_of_user(&self, user: Option<&str>) -> bool {
        user.is_none_or(|user| self.users.iter().any(|own| own.eq_ignore_ascii_case(user)))
    }

    /// `HOST`, or `HOST:PORT` where the port is not that of HTTPS.
    pub(super) fn server(&self) -> String {
        server(&self.host, self.port)
    }

    #[cfg(test)]
    pub(super) fn example(client: &str, account: &str, user: &str) -> Self {
        Self {
            client: client.to_owned(),
            host: "gate.example.com".to_owned(),
            port: 8443,
            accounts: names_of(account),
            users: vec![user.to_owned()],
            keys: Vec::new(),
        }
    }
}

impl TargetArgs {
    /// The clients, and the key of the one that is named by it.
    pub(super) fn targets(&self) -> Result<(Vec<Target>, Option<Secret>), CommandError> {
        let wrong = |text: String| CommandError::of(Owner::Client, text);
        let key = self.key()?;
        let of_key = key.as_ref().map(|(client, _)| client.clone());
        let wanted = match (&self.client, &of_key) {
            (Some(named), Some(client)) if named != client => {
                return Err(wrong(format!("the key is one of the client {client}, and --client names {named}")));
            }
            (named, of_key) => named.clone().or_else(|| of_key.clone()),
        };
        let mut all = match &self.gate {
            Some(gate) => vec![self.by_hand(gate, wanted.as_deref().unwrap_or("of the key"))?],
            None => self.configured()?,
        };
        if let Some(wanted) = wanted {
            all.retain(|target| target.client == wanted);
            if all.is_empty() {
                return Err(wrong(format!("no client has the name {wanted}; `patgate client list` has them")));
            }
        }
        if let Some(unnamed) = all.iter().find(|target| target.host.starts_with('<')) {
            let text = format!("by which name do tools reach the client {}? Set listen.public", unnamed.client);
            return Err(CommandError::gate(text));
        }
        match &mut all[..] {
            [only] => {
                only.accounts.extend(self.account.iter().flat_map(|host| names_of(host)));
                only.users.extend(self.user.iter().cloned());
                let unknown =
                    |(_, key): &(String, Secret)| !only.keys.is_empty() && !only.keys.contains(&key::stored(key));
                if key.as_ref().is_some_and(unknown) {
                    let client = &only.client;
                    return Err(wrong(format!(
                        "the key is none of the client {client} in this configuration: an old one?"
                    )));
                }
            }
            _ if self.account.is_empty() && self.user.is_empty() => {}
            _ => return Err(wrong("--account and --user need --client, to say whose they are".to_owned())),
        }
        Ok((all, key.map(|(_, key)| key)))
    }

    fn key(&self) -> Result<Option<(String, Secret)>, CommandError> {
        let Some(path) = &self.key_file else { return Ok(None) };
        let wrong = |text: String| CommandError::of(Owner::Client, format!("{}: {text}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let key = Secret::new(bare(&text).to_owned());
        let parsed = ClientKey::parse(&key).map_err(|_| wrong("this is no client key".to_owned()))?;
        Ok(Some((parsed.client.to_string(), key)))
    }

    fn by_hand(&self, gate: &str, client: &str) -> Result<Target, CommandError> {
        let (host, port) = gate.rsplit_once(':').unwrap_or((gate, "443"));
        let port = port.parse().ok().filter(|port| *port > 0);
        check_name(host)?;
        let Some(port) = port else {
            let text = "write the gate's host and port, such as --gate gate.example.com:8443";
            return Err(CommandError::of(Owner::Client, text));
        };
        Ok(Target {
            client: client.to_owned(),
            host: host.to_owned(),
            port,
            accounts: Vec::new(),
            users: Vec::new(),
            keys: Vec::new(),
        })
    }

    /// The clients of the configuration; none if there is no configuration, so that all is only listed.
    fn configured(&self) -> Result<Vec<Target>, CommandError> {
        let usual = Some(usual::config()).filter(|usual| usual.exists());
        let Some(path) = self.config.as_deref().or(usual.as_deref()) else { return Ok(Vec::new()) };
        let (config, _) = file::load(path).map_err(CommandError::gate)?;
        Ok(config.clients.keys().filter_map(|name| of_client(&config, name.as_str())).collect())
    }
}

fn of_client(config: &Config, name: &str) -> Option<Target> {
    let (name, client) = config.clients.iter().find(|(own, _)| own.as_str() == name)?;
    let credential = config.credentials.get(&client.credential)?;
    let account = config.accounts.get(&credential.account)?;
    // What enters the gate as a proxy keeps the account's host: there is nothing to move.
    let WayIn { host, port, proxy: None, .. } = WayIn::of(config, &[], name.as_str())? else { return None };
    let mut accounts = names_of(&account.host);
    accounts.push(account.name.to_ascii_lowercase());
    let keys = client.keys.iter().map(|hash| format!("sha256:{}", hex::encode(hash))).collect();
    Some(Target { client: name.to_string(), host, port, accounts, users: vec![credential.user.clone()], keys })
}

/// The names that a host or an account goes by: drivers write `_` as `-`, and leave the domain out.
fn names_of(text: &str) -> Vec<String> {
    let host = bare_host(text).to_ascii_lowercase().replace('_', "-");
    let short = is_snowflake(&host).then(|| host.split(".snowflake").next().map(str::to_owned)).flatten();
    [Some(host), short].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}
