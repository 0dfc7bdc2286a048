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
        let (host, port) = address(listen, bound.unwrap_or(listen.address));
        let credential = config.credentials.get(&client.credential);
        let account = credential.and_then(|one| config.accounts.get(&one.account));
        let place = |of_client: &Pin, of_credential: Option<&Pin>| first(of_client).or_else(|| first(of_credential?));
        let pins = credential.map(|one| &one.pins);
        Some(Self {
            client: name.to_string(),
            host,
            port,
            account: account.map_or_else(String::new, |account| account.name.clone()),
            role: place(&client.pins.role, pins.map(|pins| &pins.role)),
            warehouse: place(&client.pins.warehouse, pins.map(|pins| &pins.warehouse)),
            database: place(&client.pins.database, pins.map(|pins| &pins.database)),
            schema: place(&client.pins.schema, pins.map(|pins| &pins.schema)),
        })
    }
}

/// The first listener that the client may use, that of `[listen]` before all others.
fn listener<'a>(config: &'a Config, client: &Client) -> &'a Listen {
    let allowed = |listen: &&Listen| client.listeners.is_empty() || client.listeners.contains(&listen.name);
    config.all_listeners().filter(|listen| listen.connect().is_none()).find(allowed).unwrap_or(&config.listen)
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
