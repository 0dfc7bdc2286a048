//! [`Endpoint`]: what a tool has to be told to reach the gate as a client.

use crate::base::pins::Pin;
use crate::config::{Client, Config, Listen};
use crate::tls::ServerCertificate;

/// What stands where the key goes: it is shown once, by `client new`.
pub(in crate::cli) const KEY: &str = "<THE CLIENT KEY>";
/// A user name for the tool; the gate does not use it.
const USER: &str = "reports";

/// What a tool has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Endpoint {
    /// The client.
    pub client: String,
    /// The gate's name, which its certificate has.
    pub host: String,
    /// The gate's port.
    pub port: u16,
    /// The account, as drivers want to have one.
    pub account: String,
    /// The user name.
    pub user: String,
    /// Where the roots of the gate's certificate lie on the tool's machine; `None`: a root that the machine trusts.
    pub ca: Option<String>,
    /// What sessions get whatever the tool asks for, or what it should ask for.
    pub role: Option<String>,
    pub warehouse: Option<String>,
    pub database: Option<String>,
    pub schema: Option<String>,
}

impl Endpoint {
    /// That of a client, at the listener that it may use.
    pub(in crate::cli) fn of(config: &Config, name: &str, client: &Client) -> Self {
        let listener = listener(config, client);
        let (host, port) = address(listener);
        let credential = config.credentials.get(&client.credential);
        let account = credential.and_then(|one| config.accounts.get(&one.account));
        let place = |of_client: &Pin, of_credential: Option<&Pin>| first(of_client).or_else(|| first(of_credential?));
        let pins = credential.map(|one| &one.pins);
        Self {
            client: name.to_owned(),
            host,
            port,
            account: account.map_or_else(String::new, |account| account.name.clone()),
            user: USER.to_owned(),
            ca: None,
            role: place(&client.pins.role, pins.map(|pins| &pins.role)),
            warehouse: place(&client.pins.warehouse, pins.map(|pins| &pins.warehouse)),
            database: place(&client.pins.database, pins.map(|pins| &pins.database)),
            schema: place(&client.pins.schema, pins.map(|pins| &pins.schema)),
        }
    }

    /// One for the pages in `deploy/guides`.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self {
            client: "powerbi-gateway".to_owned(),
            host: "gate.example.com".to_owned(),
            port: 443,
            account: "myorg-prod".to_owned(),
            user: USER.to_owned(),
            ca: Some("ca.pem".to_owned()),
            role: None,
            warehouse: Some("BI_WH".to_owned()),
            database: Some("SALES".to_owned()),
            schema: Some("MART".to_owned()),
        }
    }

    /// What a tool calls the server.
    pub(super) fn server(&self) -> String {
        server(&self.host, self.port)
    }

    /// The warehouse, or what stands for it.
    pub(super) fn warehouse(&self) -> &str {
        self.warehouse.as_deref().unwrap_or("<WAREHOUSE>")
    }

    /// The database, or what stands for it.
    pub(super) fn database(&self) -> &str {
        self.database.as_deref().unwrap_or("<DATABASE>")
    }

    /// The schema, or what stands for it.
    pub(super) fn schema(&self) -> &str {
        self.schema.as_deref().unwrap_or("PUBLIC")
    }

    /// Where the roots lie, or the name of their file.
    pub(super) fn ca_file(&self) -> &str {
        self.ca.as_deref().unwrap_or("ca.pem")
    }
}

/// `HOST`, or `HOST:PORT` where the port is not that of HTTPS.
pub(in crate::cli) fn server(host: &str, port: u16) -> String {
    if port == 443 { host.to_owned() } else { format!("{host}:{port}") }
}

/// The first listener that the client may use, that of `[listen]` before all others.
fn listener<'a>(config: &'a Config, client: &Client) -> &'a Listen {
    let allowed = |listen: &&Listen| client.listeners.is_empty() || client.listeners.contains(&listen.name);
    std::iter::once(&config.listen).chain(config.listeners.values()).find(allowed).unwrap_or(&config.listen)
}

/// What tools connect to: `public`, else the first name of the certificate, else the address.
fn address(listen: &Listen) -> (String, u16) {
    if let Some(public) = &listen.public {
        return public.clone();
    }
    let names = listen.tls.as_ref().and_then(|pair| ServerCertificate::read(pair).ok()).map(|one| one.names);
    let named = names.unwrap_or_default().into_iter().find(|name| !name.contains('*'));
    let address = listen.address.ip();
    let host = named.unwrap_or_else(|| match address {
        _ if address.is_loopback() => "localhost".to_owned(),
        _ if address.is_unspecified() => "<THE GATE'S NAME: set listen.public>".to_owned(),
        _ => address.to_string(),
    });
    (host, listen.address.port())
}

fn first(pin: &Pin) -> Option<String> {
    match pin {
        Pin::Free => None,
        Pin::Fixed(value) => Some(value.to_string()),
        Pin::OneOf(values) => values.first().cloned(),
    }
}
