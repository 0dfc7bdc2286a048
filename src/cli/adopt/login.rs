//! [`Login`]: what settings mean. The names are those of Snowflake's drivers and of the tools; each stands here once.

use super::settings::{Settings, Spot};

/// The ends of Snowflake's hosts: <https://docs.snowflake.com/en/user-guide/organizations-connect>, China's, and that
/// of regions with their own domain.
const HOSTS: [&str; 3] = [".snowflakecomputing.com", ".snowflakecomputing.cn", ".snowflake.app"];

const SERVER: &[&str] = &["server", "host", "accessurl", "access_url"];
const ACCOUNT: &[&str] = &["account", "accountname", "accountidentifier", "account_identifier", "account_name"];
const PORT: &[&str] = &["port"];
const USER: &[&str] = &["user", "uid", "username", "user_name", "userid", "login"];
const PASSWORD: &[&str] = &["password", "pwd", "pass"];
const TOKEN: &[&str] = &["token", "pat", "access_token", "programmatic_access_token"];
const KEY: &[&str] = &[
    "private_key_file",
    "priv_key_file",
    "private_key_path",
    "private_key",
    "privatekey",
    "privatekeyfile",
    "privatekeypath",
];
const WAY: &[&str] =
    &["authenticator", "authentication", "authenticationtype", "authentication_type", "credentialtype"];

/// Whether a variable's end is the name of a setting.
pub(super) fn is_setting(name: &str) -> bool {
    [SERVER, ACCOUNT, PORT, USER, PASSWORD, TOKEN, KEY, WAY].iter().any(|names| names.contains(&name))
        || name == "url"
        || name == "dsn"
}

/// Whether a text is a host of Snowflake's.
pub(super) fn is_snowflake(host: &str) -> bool {
    let host = bare_host(host).to_ascii_lowercase();
    HOSTS.iter().any(|end| host.ends_with(end)) && !host.contains(char::is_whitespace)
}

/// A host without what URLs have around it.
pub(super) fn bare_host(text: &str) -> &str {
    let text = text.trim().strip_prefix("https://").unwrap_or(text.trim());
    let end = text.find([':', '/']).unwrap_or(text.len());
    &text[..end]
}

/// One login to Snowflake, as a file has it.
pub(super) struct Login<'a> {
    pub settings: &'a Settings,
    pub server: Option<&'a Spot>,
    pub account: Option<&'a Spot>,
    pub port: Option<&'a Spot>,
    pub user: Option<&'a str>,
    /// The secret that stands in the file, and whether the file calls it a password.
    pub secret: Option<Found<'a>>,
    /// Another way to log in, which a client key does not replace.
    pub other_way: Option<&'static str>,
}

/// A secret in a file.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub kind: &'static str,
    pub spot: &'a Spot,
}

impl<'a> Login<'a> {
    /// What settings say, if they are a login to Snowflake, or to the gate under this name.
    pub(super) fn of(settings: &'a Settings, gate: Option<&str>) -> Option<Self> {
        let literal = |names| settings.get(names).filter(|spot| is_literal(spot.value.expose()));
        let server = literal(SERVER);
        let host = server.map(|spot| bare_host(spot.value.expose()));
        let at_gate = || host.zip(gate).is_some_and(|(host, gate)| host.eq_ignore_ascii_case(gate));
        let account = literal(ACCOUNT);
        if !settings.known && !host.is_some_and(is_snowflake) && !at_gate() {
            return None;
        }
        // A login needs a place: one that stands in the file, or one that the file leaves to something else.
        let placed = host.is_some() || account.is_some() || settings.get(SERVER).or(settings.get(ACCOUNT)).is_some();
        if !placed && !settings.entries.is_empty() {
            return None;
        }
        let found = |kind, names| {
            literal(names).filter(|spot| !spot.value.expose().is_empty()).map(|spot| Found { kind, spot })
        };
        Some(Self {
            settings,
            server,
            account,
            port: literal(PORT),
            user: literal(USER).map(|spot| spot.value.expose()),
            secret: found("token", TOKEN).or_else(|| found("password", PASSWORD)),
            other_way: other_way(settings),
        })
    }

    /// The host, or the account, as the file has it.
    pub(super) fn place(&self) -> Option<&'a str> {
        let host = self.server.map(|spot| bare_host(spot.value.expose()));
        host.or_else(|| self.account.map(|spot| spot.value.expose())).filter(|place| !place.is_empty())
    }
}

/// A value that is no template of dbt's, of a shell's, of Azure's.
fn is_literal(value: &str) -> bool {
    !value.contains("{{")
        && !value.starts_with(['$', '%', '@'])
        && !value.starts_with("[parameters(")
        && !value.contains("${")
}

fn other_way(settings: &Settings) -> Option<&'static str> {
    let way = settings.get(WAY).map(|spot| spot.value.expose().to_ascii_lowercase()).unwrap_or_default();
    if settings.get(KEY).is_some() || way.contains("jwt") || way.contains("keypair") || way.contains("key-pair") {
        return Some("a key pair");
    }
    if way.contains("browser") {
        return Some("a person's browser");
    }
    (way.contains("oauth") || way.contains("okta") || way.contains("workload")).then_some("an identity provider")
}
