//! [`Login`]: what settings mean. The names are those of Snowflake's drivers and of the tools; each stands here once.

use super::settings::{Form, Settings, Spot};

/// The ends of Snowflake's hosts: <https://docs.snowflake.com/en/user-guide/organizations-connect>, China's, and that
/// of regions with their own domain.
const HOSTS: [&str; 3] = [".snowflakecomputing.com", ".snowflakecomputing.cn", ".snowflake.app"];

const SERVER: &[&str] = &["server", "host", "hostname", "accessurl", "access_url", "url"];
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
    "private_key_raw",
    "privatekey",
    "privatekeyfile",
    "privatekeypath",
];
/// A token in a file of its own.
const TOKEN_FILE: &[&str] = &["token_file_path", "token_file"];
const WAY: &[&str] =
    &["authenticator", "authentication", "authenticationtype", "authentication_type", "credentialtype"];
/// The ways that a client key takes the place of.
const BY_SECRET: &[&str] = &[
    "",
    "snowflake",
    "programmatic_access_token",
    "username password",
    "usernamepassword",
    "username_password",
    "basic",
    "password",
    "pat",
];
/// Words in names of what may say who logs in, or with what.
const TELLING: &[&str] = &["user", "login", "uid", "pass", "pwd", "secret", "token", "credential", "private"];
/// Settings of drivers that have such a word in their names, and say neither, without what separates their words.
const HARMLESS: &[&str] = &[
    "logintimeout",
    "clientstoretemporarycredential",
    "clientrequestmfatoken",
    "allowunderscoresinhost",
    "passcodeinpassword",
    "tokencachedir",
    "credentialcachedir",
];
/// A part of an account's host, in files of old drivers.
const REGION: &[&str] = &["region"];

/// Whether a variable's end is the name of a setting.
pub(super) fn is_setting(name: &str) -> bool {
    [SERVER, ACCOUNT, PORT, USER, PASSWORD, TOKEN, KEY, WAY].iter().any(|names| names.contains(&name)) || name == "dsn"
}

/// Whether a name, in small letters, is that of a user or a secret, or may be.
pub(super) fn is_secret_or_user(name: &str) -> bool {
    [USER, PASSWORD, TOKEN].iter().any(|names| names.contains(&name)) || is_telling(name)
}

/// Whether a name, in small letters, may be that of a user or a secret, and is none that is known.
pub(super) fn is_telling(name: &str) -> bool {
    let known = [USER, PASSWORD, TOKEN, KEY, WAY, TOKEN_FILE].iter().any(|names| names.contains(&name));
    let plain = name.replace(['_', '-', ' '], "");
    !known && !HARMLESS.contains(&plain.as_str()) && TELLING.iter().any(|word| name.contains(word))
}

/// Whether a text is a host of Snowflake's.
pub(super) fn is_snowflake(host: &str) -> bool {
    let host = bare_host(host).to_ascii_lowercase();
    HOSTS.iter().any(|end| host.ends_with(end)) && !host.contains(char::is_whitespace)
}

/// Whether a text is such a host, or the gate's.
pub(super) fn is_host(text: &str, gate: Option<&str>) -> bool {
    is_snowflake(text) || gate.is_some_and(|gate| bare_host(text).eq_ignore_ascii_case(gate))
}

/// A host without what URLs have around it.
pub(super) fn bare_host(text: &str) -> &str {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let over = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
    let text = &text[..text.find(over).unwrap_or(text.len())];
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    &text[..text.find(':').unwrap_or(text.len())]
}

/// One login to Snowflake, as a file has it.
pub(super) struct Login<'a> {
    pub settings: &'a Settings,
    pub server: Option<&'a Spot>,
    pub account: Option<&'a Spot>,
    pub port: Option<&'a Spot>,
    pub user: Option<&'a str>,
    /// The secrets that stand in the file.
    pub secrets: Vec<Found<'a>>,
    /// Another way to log in, which a client key does not replace.
    pub other_way: Option<&'static str>,
    /// Why it cannot be changed, if that is so whatever it is changed to.
    pub unfit: Option<&'static str>,
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
        let literal = |names| settings.get(names).filter(|spot| is_literal(spot, &settings.form));
        // It may stand under a name that is not known: then a person has to look at it.
        let has_host = settings.entries.iter().any(|(_, spot)| is_host(spot.value.expose(), gate));
        if !settings.known && !has_host {
            return None;
        }
        // A login needs a place: one that stands in the file, or one that the file leaves to something else.
        let placed = settings.get(SERVER).or(settings.get(ACCOUNT)).is_some();
        if !placed && !has_host && !settings.entries.is_empty() {
            return None;
        }
        let named = |kind, names: &[&str]| -> Vec<Found<'a>> {
            let all = settings.all(names).filter(|spot| is_literal(spot, &settings.form));
            all.filter(|spot| !spot.value.expose().is_empty()).map(|spot| Found { kind, spot }).collect()
        };
        Some(Self {
            settings,
            server: literal(SERVER),
            account: literal(ACCOUNT),
            port: literal(PORT),
            user: literal(USER).map(|spot| spot.value.expose()).filter(|user| !user.is_empty()),
            secrets: [named("token", TOKEN), named("password", PASSWORD)].concat(),
            other_way: other_way(settings),
            unfit: unfit(settings),
        })
    }

    /// The host, or the account, as the file has it.
    pub(super) fn place(&self) -> Option<&'a str> {
        let host = self.server.map(|spot| bare_host(spot.value.expose()));
        host.or_else(|| self.account.map(|spot| spot.value.expose())).filter(|place| !place.is_empty())
    }
}

/// Why settings cannot be changed by a program.
fn unfit(settings: &Settings) -> Option<&'static str> {
    let twice = |names: &[&str]| settings.all(names).count() > 1;
    let from_elsewhere = |names| settings.all(names).any(|spot| !is_literal(spot, &settings.form));
    if settings.unfit.is_some() {
        return settings.unfit;
    }
    let is_place = |name: &str| SERVER.contains(&name) || ACCOUNT.contains(&name);
    let other_host = |(name, spot): &(String, Spot)| !is_place(name) && is_snowflake(spot.value.expose());
    if settings.entries.iter().any(other_host) {
        return Some("Snowflake's host stands under a name that adopt does not know");
    }
    if settings.all(&["secretname"]).any(|spot| !spot.value.expose().is_empty()) {
        return Some("its secret lies in a vault: put the client key there, and change this with it");
    }
    if settings.entries.iter().any(|(name, spot)| is_telling(name) && !spot.value.expose().is_empty()) {
        return Some("a user or a secret stands under a name that adopt does not know");
    }
    if settings.all(REGION).any(|spot| !spot.value.expose().is_empty()) {
        return Some("it names a region beside the account");
    }
    if twice(SERVER) || twice(ACCOUNT) || twice(PORT) || twice(USER) {
        return Some("it says its host, account, port or user twice");
    }
    if from_elsewhere(SERVER) || from_elsewhere(ACCOUNT) || from_elsewhere(PORT) || from_elsewhere(USER) {
        return Some("its host or its user comes from a variable");
    }
    if matches!(settings.form, Form::Yaml(_)) && way(settings).contains("programmatic") {
        return Some("dbt sends no token with this authenticator: take both out, and write the key as `password`");
    }
    if from_elsewhere(TOKEN) || from_elsewhere(PASSWORD) {
        return Some("its secret comes from a variable: give that the client key, and change this with it");
    }
    None
}

/// A value that is no template of this format's tools: dbt's, a shell's, Azure's.
fn is_literal(spot: &Spot, form: &Form) -> bool {
    let value = spot.value.expose();
    let template = match form {
        Form::Yaml(_) => value.contains("{{"),
        Form::Json { .. } => value.starts_with(['@', '[']) || value.contains("@{"),
        Form::Fixed => value.starts_with('$'),
        Form::Ini { .. } | Form::Registry | Form::Toml | Form::Xml | Form::Pairs => false,
    };
    !template && !value.contains("${") && !value.contains("{{")
}

/// How it logs in, in small letters; empty if it does not say.
fn way(settings: &Settings) -> String {
    settings.get(WAY).map(|spot| spot.value.expose().to_ascii_lowercase()).unwrap_or_default()
}

fn other_way(settings: &Settings) -> Option<&'static str> {
    let way = way(settings);
    if settings.get(TOKEN_FILE).is_some() {
        return Some("a token in a file of its own");
    }
    if settings.get(KEY).is_some() || way.contains("jwt") || way.contains("keypair") || way.contains("key-pair") {
        return Some("a key pair");
    }
    if way.contains("browser") {
        return Some("a person's browser");
    }
    (!BY_SECRET.contains(&way.as_str())).then_some("another way than a password or a token")
}
