//! [`Granted`]: an answer with the tokens of a session, to a login or to a renewal.
//!
//! Both have a session token and a master token, under different names: `token` in the answer to a login
//! (`go:auth.go`), `sessionToken` in that to a renewal (`go:restful.go`). `sessionId` is a number of 64 bits. All other
//! text stays unchanged.

use std::borrow::Cow;
use std::time::Duration;

use super::members::Envelope;
use crate::base::pins::ContextField;
use crate::base::secret::Secret;

/// Members of a login's `data` that hand the client a credential of another kind.
const FOREIGN_TOKENS: [&str; 6] = [
    "idToken",
    "idTokenValidityInSeconds",
    "mfaToken",
    "mfaTokenValidityInSeconds",
    "remMeToken",
    "remMeValidityInSeconds",
];
const MASTER: &str = "masterToken";

/// The names of one kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    token: &'static str,
    /// The lifetime of the master token, in seconds. Drivers differ in which of two names they read
    /// (`py:network.py` reads `masterValidityInSeconds` from a renewal too).
    lasts: [&'static str; 2],
}

pub(super) const LOGIN: Form = Form { token: "token", lasts: ["masterValidityInSeconds", "validityInSecondsMT"] };
pub(super) const RENEWAL: Form =
    Form { token: "sessionToken", lasts: ["validityInSecondsMT", "masterValidityInSeconds"] };

/// An answer with tokens in it.
pub struct Granted<'a> {
    answer: Envelope<'a>,
    form: Form,
    changed: bool,
}

impl<'a> Granted<'a> {
    /// Reads a successful answer, and removes tokens of other kinds; `None` if it has no session token.
    pub(super) fn of(mut answer: Envelope<'a>, form: Form) -> Option<Self> {
        let data = answer.data.as_mut()?;
        data.text(form.token)?;
        let changed = FOREIGN_TOKENS.map(|name| data.remove(name)).contains(&true);
        Some(Self { answer, form, changed })
    }

    /// The session token.
    pub fn token(&self) -> Secret {
        self.secret(self.form.token).unwrap_or_else(|| Secret::new(String::new()))
    }

    /// The master token, if there is one.
    pub fn master(&self) -> Option<Secret> {
        self.secret(MASTER)
    }

    /// The lifetime of the master token, if the answer says it.
    pub fn lasts(&self) -> Option<Duration> {
        let data = self.answer.data.as_ref()?;
        self.form.lasts.iter().find_map(|name| data.raw(name)?.parse().ok()).map(Duration::from_secs)
    }

    /// `data.sessionId` as it was written.
    pub fn session(&self) -> Option<String> {
        self.answer.data.as_ref()?.raw("sessionId").map(str::to_owned)
    }

    /// What the session got of this place, from `data.sessionInfo`; the outer `None` if the answer does not say.
    pub fn place(&self, place: ContextField) -> Option<Option<String>> {
        let info = self.answer.data.as_ref()?.object("sessionInfo")?;
        let name = match place {
            ContextField::Role => "roleName",
            ContextField::Warehouse => "warehouseName",
            ContextField::Database => "databaseName",
            ContextField::Schema => "schemaName",
        };
        info.raw(name)?;
        Some(info.text(name).map(Cow::into_owned).filter(|got| !got.is_empty()))
    }

    /// Replaces the tokens.
    pub fn put(&mut self, token: &str, master: Option<&str>) {
        let Some(data) = self.answer.data.as_mut() else { return };
        data.set_text(self.form.token, token);
        if let Some(master) = master {
            data.set_text(MASTER, master);
        }
        self.changed = true;
    }

    /// The current answer; `None` if nothing has changed.
    pub fn written(self) -> Option<String> {
        self.changed.then(|| self.answer.write())
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.answer.data.as_ref()?.text(name).map(|text| Secret::new(text.into_owned()))
    }
}
