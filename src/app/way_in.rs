//! [`WayIn`]: what a tool has to be told to reach the gate as a client. A running gate answers with it, and commands
//! make it of a file.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::pins::Pin;
use crate::config::{Client, Config, Listen};
use crate::tls::ServerCertificate;

/// Where a client's tools connect to, and what their sessions get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayIn {
    /// The client.
    pub client: String,
    /// The gate's name, which its certificate has.
    pub host: String,
    /// The gate's port.
    pub port: u16,
    /// The proxy that its tools set, where it may use a proxy's way in alone; host and port are then the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Whether it has no key: its connection, or the user name that its tools type, says who it is.
    #[serde(default)]
    pub keyless: bool,
    /// The account, as drivers want to have one.
    pub account: String,
    /// What sessions get whatever the tool asks for, or what it should ask for.
    pub role: Option<String>,
    /// The same for the warehouse.
    pub warehouse: Option<String>,
    /// The same for the database.
    pub database: Option<String>,
    /// The same for the schema.
    pub schema: Option<String>,
}

impl WayIn {
    /// That of a client, at the listener that it may use; `None` if the configuration does not have it. `bound` has the
    /// addresses of a gate that runs.
    pub fn of(config: &Config, bound: &[(Arc<str>, SocketAddr)], client: &str) -> Option<Self> {
        let (name, client) = config.clients.iter().find(|(name, _)| name.as_str() == client)?;
        let listen = listener(config, client);
        let bound = bound.iter().find(|(name, _)| *name == listen.name).map(|(_, address)| *address);
        let (mut host, mut port) = address(listen, bound.unwrap_or(listen.address));
        let credential = config.credentials.get(&client.credential);
        let account = credential.and_then(|one| config.accounts.get(&one.account));
        let mut proxy = None;
        if let Some(account) = account.filter(|_| listen.connect().is_some()) {
            let scheme = if listen.tls.is_some() { "https" } else { "http" };
            proxy = Some(format!("{scheme}://{host}:{port}"));
            (host, port) = (account.host.clone(), account.port);
        }
        let place = |of_client: &Pin, of_credential: Option<&Pin>| first(of_client).or_else(|| first(of_credential?));
        let pins = credential.map(|one| &one.pins);
        Some(Self {
            client: name.to_string(),
            host,
            port,
            proxy,
            keyless: client.keys.is_empty(),
            account: account.map_or_else(String::new, |account| account.name.clone()),
            role: place(&client.pins.role, pins.map(|pins| &pins.role)),
            warehouse: place(&client.pins.warehouse, pins.map(|pins| &pins.warehouse)),
            database: place(&client.pins.database, pins.map(|pins| &pins.database)),
            schema: place(&client.pins.schema, pins.map(|pins| &pins.schema)),
        })
    }
}

/// The first listener that the client may use, that of `[listen]` before all others, a proxy's way in last.
fn listener<'a>(config: &'a Config, client: &Client) -> &'a Listen {
    let allowed = |listen: &&Listen| client.listeners.is_empty() || client.listeners.contains(&listen.name);
    let drivers = config.all_listeners().filter(|listen| listen.connect().is_none());
    drivers.chain(config.all_listeners()).find(allowed).unwrap_or(&config.listen)
}

/// What tools connect to: `public`, else the first name of the certificate, else the address.
fn address(listen: &Listen, at: SocketAddr) -> (String, u16) {
    if let Some(public) = &listen.public {
        return public.clone();
    }
    let names = listen.tls.as_ref().and_then(|pair| ServerCertificate::read(pair).ok()).map(|one| one.names);
    let named = names.unwrap_or_default().into_iter().find(|name| !name.contains('*'));
    let host = named.unwrap_or_else(|| match at.ip() {
        ip if ip.is_loopback() => "localhost".to_owned(),
        ip if ip.is_unspecified() => "<THE GATE'S NAME: set listen.public>".to_owned(),
        ip => ip.to_string(),
    });
    (host, at.port())
}

fn first(pin: &Pin) -> Option<String> {
    match pin {
        Pin::Free => None,
        Pin::Fixed(value) => Some(value.to_string()),
        Pin::OneOf(values) => values.first().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    #[test]
    fn who_may_come_by_the_proxy_alone_keeps_the_account_and_is_told_its_proxy() {
        let config = |listeners: &str| {
            let text = format!(
                "[listen]\naddress = '127.0.0.1:8443'\ndanger_plaintext = true\npublic = 'gate.example.com:443'\n\
                 [listeners.proxy]\nkind = 'connect'\naddress = '127.0.0.1:3128'\nca = 'c'\nca_key = 'k'\n\
                 [accounts.a]\nhost = 'myorg-a.snowflakecomputing.com'\n[stores.e.env]\n[credentials.c]\naccount = \
                 'a'\n\
                 user = 'U'\npat = 'e:P'\n[clients.x]\ncredential = 'c'\nkeys = ['sha256:{}']\n{listeners}",
                "0".repeat(64)
            );
            file::parse(Path::new("patgate.toml"), &text).unwrap_or_else(|report| panic!("{report}")).0
        };
        let of = |listeners: &str| WayIn::of(&config(listeners), &[], "x").unwrap();
        let (any, proxied) = (of(""), of("listeners = ['proxy']\n"));
        assert_eq!((any.host.as_str(), any.proxy), ("gate.example.com", None));
        assert_eq!((proxied.host.as_str(), proxied.port), ("myorg-a.snowflakecomputing.com", 443));
        assert_eq!(proxied.proxy.as_deref(), Some("http://localhost:3128"));
    }
}
