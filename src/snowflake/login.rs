//! The login request: finds the client's credential, removes every credential, and adds the gate's.
//!
//! Facts: a PAT, and so a client key, may stand in `PASSWORD` or `TOKEN` (`go:auth.go`, `py:auth/pat.py`,
//! `jdbc:SessionUtil.java`). Null and empty count as absent: dbt sends `TOKEN` as null. `AUTHENTICATOR` is compared
//! without case, since .NET writes it in small letters (`net:ProgrammaticAccessTokenAuthenticator.cs`); a range of Node
//! releases says OAUTH with an `OAUTH_TYPE` (`node:lib/authentication/auth_oauth_pat.js`). `LOGIN_NAME` may be missing
//! (`go:auth.go`). A second round of a login copies `inFlightCtx` from the answer (`py:auth/_auth.py`). Everything
//! except credentials keeps its bytes.

use super::PAT_AUTHENTICATOR;
use super::login_secret::Presented;
use super::members::{Envelope, Members, quoted, too_deep};
use crate::base::secret::Secret;
use crate::base::trace::TraceId;

/// Members of `data` that hold or describe a credential.
const CREDENTIALS: [&str; 12] = [
    "PASSWORD",
    "TOKEN",
    "PASSCODE",
    "EXT_AUTHN_DUO_METHOD",
    "RAW_SAML_RESPONSE",
    "PROOF_KEY",
    "OAUTH_TYPE",
    "PROVIDER",
    "SPCS_TOKEN",
    "CHOSEN_NEW_PASSWORD",
    "BROWSER_MODE_REDIRECT_PORT",
    "AUTHENTICATOR",
];
/// Session parameters that ask Snowflake for credentials to cache at the client.
const CACHING: [&str; 2] = ["CLIENT_REQUEST_MFA_TOKEN", "CLIENT_STORE_TEMPORARY_CREDENTIAL"];

/// A login that was read and not yet rewritten.
pub struct Login<'a> {
    outer: Members<'a>,
    data: Members<'a>,
    /// The key that the client sent; `None` if it sent none.
    pub presented: Option<Secret>,
}

/// Why the gate refuses a login before admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotALogin {
    /// The body is not a login.
    Malformed(&'static str),
    /// Two different values in PASSWORD and TOKEN.
    NoKey(&'static str),
    /// An authenticator that this gate does not serve; the name is one of a closed list.
    Authenticator(&'static str),
}

/// What replaces the client's credential upstream.
pub struct Injection<'a> {
    /// Snowflake's name of the account, for `ACCOUNT_NAME`.
    pub account: &'a str,
    /// The service user, for `LOGIN_NAME`.
    pub user: &'a str,
    /// What stands for the user's secret, for `AUTHENTICATOR` and `TOKEN`.
    pub presented: &'a Presented,
    /// Whose login it is.
    pub mark: Mark<'a>,
}

/// Whose login it is, for whoever looks at Snowflake's side: in `CLIENT_ENVIRONMENT`, which SESSIONS has, and in the
/// session's query tag, which QUERY_HISTORY has.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// The client's name.
    pub client: &'a str,
    /// The trace id of the login.
    pub trace: TraceId,
    /// Whether the session gets a query tag, if the login sets none of its own.
    pub query_tag: bool,
}

impl Mark<'_> {
    /// The query tag.
    fn tag(&self) -> String {
        format!(r#"{{"patgate_client":{},"patgate_trace":"{}"}}"#, quoted(self.client), self.trace)
    }
}

impl<'a> Login<'a> {
    /// Reads a login body.
    ///
    /// # Errors
    /// [`NotALogin`]; no part of the body is quoted in it.
    pub fn parse(body: &'a [u8]) -> Result<Self, NotALogin> {
        let text = std::str::from_utf8(body).map_err(|_| NotALogin::Malformed("it is not UTF-8"))?;
        if too_deep(text) {
            return Err(NotALogin::Malformed("it is nested too deeply"));
        }
        let Envelope { outer, data } =
            Envelope::parse(text).map_err(|_| NotALogin::Malformed("it is not a JSON object"))?;
        let data =
            data.ok_or(NotALogin::Malformed("it does not have exactly one member \"data\" that is an object"))?;
        if outer.all_like("data").count() != 1 {
            return Err(NotALogin::Malformed("it has a second member \"data\" in other letters"));
        }
        check_authenticator(&data)?;
        let presented = presented(&data)?;
        Ok(Self { outer, data, presented })
    }

    /// The user name that was typed, whole.
    pub fn typed_user(&self) -> Option<String> {
        self.data.text("LOGIN_NAME").map(|name| name.to_string())
    }

    /// A member of `data` that is a string and not a secret, for records.
    pub fn fact(&self, name: &'static str) -> Option<String> {
        debug_assert!(!CREDENTIALS.contains(&name));
        self.data.text(name).map(|text| short(&text))
    }

    /// A member of `data.CLIENT_ENVIRONMENT` that is a string.
    pub fn environment(&self, name: &str) -> Option<String> {
        self.data.object("CLIENT_ENVIRONMENT")?.text(name).map(|text| short(&text))
    }

    /// The session gets its role alone, without the user's other roles. (The universal driver sends the member; not
    /// confirmed for Snowflake is that every version of its server reads it.)
    pub fn pin_role_alone(&mut self) {
        self.data.put_text("SECONDARY_ROLES", "NONE");
    }

    /// The body to send upstream. The caller may write it again, with a newer secret.
    pub fn write(&mut self, with: &Injection<'_>) -> String {
        for name in CREDENTIALS {
            self.data.remove_like(name);
        }
        self.data.put_text("ACCOUNT_NAME", with.account);
        self.data.put_text("LOGIN_NAME", with.user);
        self.data.put_text("AUTHENTICATOR", with.presented.authenticator());
        self.data.put_text("TOKEN", with.presented.token().expose());
        if let Some(parameters) = self.parameters(&with.mark) {
            self.data.put_raw("SESSION_PARAMETERS", parameters);
        }
        self.data.put_raw("CLIENT_ENVIRONMENT", self.marked_environment(&with.mark));
        self.outer.remove_like("inFlightCtx");
        self.outer.set_raw("data", self.data.write());
        self.outer.write()
    }
}

/// The body of a login of the gate's own: the credential, and nothing of a client's.
pub fn own_login(account: &str, user: &str, presented: &Presented) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (account, user, token) = (quoted(account), quoted(user), quoted(presented.token().expose()));
    format!(
        concat!(
            r#"{{"data":{{"CLIENT_APP_ID":"patgate","CLIENT_APP_VERSION":"{version}","ACCOUNT_NAME":{account},"#,
            r#""LOGIN_NAME":{user},"AUTHENTICATOR":"{kind}","TOKEN":{token},"#,
            r#""CLIENT_ENVIRONMENT":{{"APPLICATION":"patgate"}},"SESSION_PARAMETERS":{{}}}}}}"#
        ),
        version = version,
        account = account,
        user = user,
        kind = presented.authenticator(),
        token = token,
    )
}

/// The body of a login as a tool with this client key sends it to a gate.
pub fn client_login(account: &str, key: &Secret) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (account, key) = (quoted(account), quoted(key.expose()));
    format!(
        concat!(
            r#"{{"data":{{"CLIENT_APP_ID":"patgate","CLIENT_APP_VERSION":"{}","ACCOUNT_NAME":{},"#,
            r#""LOGIN_NAME":"doctor","PASSWORD":{},"CLIENT_ENVIRONMENT":{{"APPLICATION":"patgate doctor"}},"#,
            r#""SESSION_PARAMETERS":{{}}}}}}"#
        ),
        version, account, key,
    )
}

impl Login<'_> {
    /// The session parameters without those that ask for credentials, and with the query tag; `None` if they may stay
    /// as they are. Of several the last is sent, alone.
    fn parameters(&self, mark: &Mark<'_>) -> Option<String> {
        let mut all = self.data.all_like("SESSION_PARAMETERS");
        let (first, last) = (all.next(), all.last());
        let mut parameters = match last.or(first) {
            Some(sent) => Members::parse(sent).ok()?,
            None if mark.query_tag => Members::parse("{}").ok()?,
            None => return None,
        };
        let removed = CACHING.map(|name| parameters.remove_like(name));
        let tags = mark.query_tag && parameters.all_like("QUERY_TAG").next().is_none();
        if tags {
            parameters.put_text("QUERY_TAG", &mark.tag());
        }
        (tags || last.is_some() || removed.contains(&true)).then(|| parameters.write())
    }

    /// The client's environment with the mark in it. What is no object is replaced: SESSIONS could not show it.
    fn marked_environment(&self, mark: &Mark<'_>) -> String {
        let sent = self.data.all_like("CLIENT_ENVIRONMENT").last().and_then(|sent| Members::parse(sent).ok());
        let Some(mut environment) = sent.or_else(|| Members::parse("{}").ok()) else { return mark.tag() };
        environment.put_text("patgate_client", mark.client);
        environment.put_text("patgate_trace", &mark.trace.to_string());
        environment.write()
    }
}

/// Cuts a text for a log line, because clients choose it.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Accepts no authenticator, `SNOWFLAKE` and the PAT authenticator, and OAuth if it carries a PAT (a range of Node
/// releases).
fn check_authenticator(data: &Members<'_>) -> Result<(), NotALogin> {
    let Some(name) = present(data, "AUTHENTICATOR")? else { return Ok(()) };
    let known = ["SNOWFLAKE", PAT_AUTHENTICATOR];
    if known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    if name.eq_ignore_ascii_case("OAUTH") {
        let kind = present(data, "OAUTH_TYPE")?;
        if kind.is_some_and(|kind| kind.eq_ignore_ascii_case(PAT_AUTHENTICATOR)) {
            return Ok(());
        }
    }
    let foreign = [
        "OAUTH",
        "SNOWFLAKE_JWT",
        "EXTERNALBROWSER",
        "ID_TOKEN",
        "USERNAME_PASSWORD_MFA",
        "WORKLOAD_IDENTITY",
        "OAUTH_AUTHORIZATION_CODE",
        "OAUTH_CLIENT_CREDENTIALS",
    ];
    let shown = foreign.into_iter().find(|foreign| name.eq_ignore_ascii_case(foreign));
    let url = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    Err(NotALogin::Authenticator(shown.unwrap_or(if url { "Okta" } else { "of this kind" })))
}

fn presented(data: &Members<'_>) -> Result<Option<Secret>, NotALogin> {
    let (password, token) = (present(data, "PASSWORD")?, present(data, "TOKEN")?);
    match (password, token) {
        (Some(one), None) | (None, Some(one)) => Ok(Some(Secret::new(one))),
        (Some(a), Some(b)) => {
            // Some tools fill both fields with the same value; two different values are a mistake, which the text
            // names.
            let (a, b) = (Secret::new(a), Secret::new(b));
            if a.same_as(&b) { Ok(Some(a)) } else { Err(NotALogin::NoKey("two different credentials")) }
        }
        (None, None) => Ok(None),
    }
}

/// A member that exists and is neither null nor empty. If it is there twice or is not a string, the login is ambiguous.
fn present(data: &Members<'_>, name: &'static str) -> Result<Option<String>, NotALogin> {
    let mut found = data.all(name);
    let Some(raw) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(NotALogin::Malformed("it has the same credential member twice"));
    }
    if raw == "null" {
        return Ok(None);
    }
    let text = super::members::string(raw).ok_or(NotALogin::Malformed("a credential in it is not a string"))?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login's mark, and what it adds to the environment.
    fn mark() -> Mark<'static> {
        Mark { client: "excel", trace: TraceId::from_bytes([7; 16]), query_tag: false }
    }
    const MARKED: &str = r#""patgate_client":"excel","patgate_trace":"07070707070707070707070707070707""#;

    fn rewritten(body: &str) -> String {
        let pat = Presented::pat(Secret::new("the-pat".into()));
        let mut login = Login::parse(body.as_bytes()).unwrap_or_else(|why| panic!("{why:?}: {body}"));
        assert_eq!(login.presented.as_ref().unwrap().expose(), "pgk_x", "{body}");
        login.write(&Injection { account: "acct", user: "SVC", presented: &pat, mark: mark() })
    }

    #[test]
    fn every_driver_s_form_is_understood() {
        for body in [
            r#"{"data":{"PASSWORD":"pgk_x"}}"#,
            r#"{"data":{"TOKEN":null,"PASSWORD":"pgk_x","AUTHENTICATOR":"PROGRAMMATIC_ACCESS_TOKEN"}}"#,
            r#"{"data":{"AUTHENTICATOR":"programmatic_access_token","TOKEN":"pgk_x","LOGIN_NAME":"u"}}"#,
            r#"{"data":{"AUTHENTICATOR":"SNOWFLAKE","PASSWORD":"pgk_x","TOKEN":""}}"#,
            r#"{"data":{"AUTHENTICATOR":"OAUTH","OAUTH_TYPE":"PROGRAMMATIC_ACCESS_TOKEN","TOKEN":"pgk_x"}}"#,
            r#"{"data":{"AUTHENTICATOR":null,"P\u0041SSWORD":"pgk\u005fx"},"inFlightCtx":null}"#,
            r#"{"data":{"PASSWORD":"pgk_x","TOKEN":"pgk_x"}}"#,
        ] {
            let sent = rewritten(body);
            assert!(!sent.contains("pgk") && !sent.contains("inFlightCtx"), "{sent}");
            assert_eq!(sent.matches("the-pat").count(), 1);
        }
    }

    #[test]
    fn credentials_go_and_everything_else_stays() {
        let sent = rewritten(concat!(
            r#"{"data":{"ACCOUNT_NAME":"whatever","CLIENT_APP_VERSION":"4.8.1","PASSWORD":"pgk_x","PASSCODE":"1","#,
            r#""EXT_AUTHN_DUO_METHOD":"push","RAW_SAML_RESPONSE":"s","PROOF_KEY":"p","PROVIDER":"AWS","#,
            r#""SPCS_TOKEN":"t","CHOSEN_NEW_PASSWORD":"n","#,
            r#""BROWSER_MODE_REDIRECT_PORT":"1","BIG":12345678901234567890123, "#,
            r#""CLIENT_ENVIRONMENT":{"password":"****"},"#,
            r#""SESSION_PARAMETERS":{"A":{"B":[1]},"CLIENT_REQUEST_MFA_TOKEN":true,"#,
            r#""CLIENT_STORE_TEMPORARY_CREDENTIAL":true}}"#,
            r#","inFlightCtx":"x","other":1.0}"#
        ));
        assert_eq!(
            sent,
            concat!(
                r#"{"data":{"ACCOUNT_NAME":"acct","CLIENT_APP_VERSION":"4.8.1","BIG":12345678901234567890123,"#,
                r#""CLIENT_ENVIRONMENT":{"password":"****",MARK},"SESSION_PARAMETERS":{"A":{"B":[1]}},"#,
                r#""LOGIN_NAME":"SVC","#,
                r#""AUTHENTICATOR":"PROGRAMMATIC_ACCESS_TOKEN","TOKEN":"the-pat"},"other":1.0}"#
            )
            .replace("MARK", MARKED)
        );
    }

    #[test]
    fn no_spelling_of_a_credential_goes_beside_the_gate_s_own() {
        let sent = rewritten(concat!(
            r#"{"data":{"password":"a","PASSWORD":"pgk_x","Token":"b","Authenticator":"OAUTH","login_name":"x","#,
            r#""SESSION_PARAMETERS":{"A":1},"SESSION_PARAMETERS":{"B":2,"client_request_mfa_token":true}},"#,
            r#""InFlightCtx":"x"}"#
        ));
        assert_eq!(
            sent,
            concat!(
                r#"{"data":{"LOGIN_NAME":"SVC","SESSION_PARAMETERS":{"B":2},"ACCOUNT_NAME":"acct","#,
                r#""AUTHENTICATOR":"PROGRAMMATIC_ACCESS_TOKEN","TOKEN":"the-pat","CLIENT_ENVIRONMENT":{MARK}}}"#
            )
            .replace("MARK", MARKED)
        );
    }

    #[test]
    fn a_session_gets_a_query_tag_where_that_is_wanted_and_it_has_none() {
        let pat = Presented::pat(Secret::new("the-pat".into()));
        let tagged = |parameters: &str| {
            let body = format!(r#"{{"data":{{"PASSWORD":"pgk_x"{parameters}}}}}"#);
            let mut login = Login::parse(body.as_bytes()).unwrap();
            let mark = Mark { query_tag: true, ..mark() };
            login.write(&Injection { account: "acct", user: "SVC", presented: &pat, mark })
        };
        let tag = format!(r#""QUERY_TAG":{}"#, quoted(&format!("{{{MARKED}}}")));
        for untagged in ["", r#","SESSION_PARAMETERS":{"A":1}"#] {
            assert!(tagged(untagged).contains(&tag), "{untagged}");
        }
        let own = r#","SESSION_PARAMETERS":{"query_tag":"mine"}"#;
        assert!(tagged(own).contains(&own[1..]) && !tagged(own).contains("QUERY_TAG"));
    }

    #[test]
    fn a_pinned_role_stands_alone() {
        let body = r#"{"data":{"PASSWORD":"pgk_x","SECONDARY_ROLES":"ALL","Secondary_Roles":"ALL","A":1}}"#;
        let pat = Presented::pat(Secret::new("the-pat".into()));
        let mut login = Login::parse(body.as_bytes()).unwrap();
        login.pin_role_alone();
        let sent = login.write(&Injection { account: "acct", user: "SVC", presented: &pat, mark: mark() });
        assert!(sent.starts_with(r#"{"data":{"SECONDARY_ROLES":"NONE","A":1,"#), "{sent}");
        assert_eq!(sent.to_uppercase().matches("SECONDARY_ROLES").count(), 1);
    }

    #[test]
    fn what_cannot_be_served_is_refused_without_quoting_it() {
        let refused = |body: &str| Login::parse(body.as_bytes()).err().unwrap_or_else(|| panic!("{body}"));
        for name in
            ["OAUTH", "snowflake_jwt", "ExternalBrowser", "https://x.okta.com", "USERNAME_PASSWORD_MFA", "canary"]
        {
            let why = refused(&format!(r#"{{"data":{{"AUTHENTICATOR":"{name}","TOKEN":"pgk_x"}}}}"#));
            assert!(matches!(why, NotALogin::Authenticator(shown) if !shown.contains("canary")), "{name}");
        }
        for body in ["{}", "[]", r#"{"data":1}"#, r#"{"data":{},"data":{}}"#, r#"{"data":{"TOKEN":1}}"#, "\u{0}"] {
            assert!(matches!(refused(body), NotALogin::Malformed(_)), "{body}");
        }
        assert!(matches!(refused(r#"{"data":{"PASSWORD":"a","PASSWORD":"b"}}"#), NotALogin::Malformed(_)));
        assert!(matches!(refused(r#"{"data":{"PASSWORD":"a","TOKEN":"b"}}"#), NotALogin::NoKey(_)));
        assert!(Login::parse(br#"{"data":{"PASSWORD":"","TOKEN":null}}"#).is_ok_and(|login| login.presented.is_none()));
        assert!(matches!(Login::parse(b"\xff\xfe{"), Err(NotALogin::Malformed("it is not UTF-8"))));
    }
}
