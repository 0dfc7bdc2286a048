//! The statements by which a rotator changes the PATs of another user, and what the SQL API answers to them.
//!
//! Facts: `docs` "ALTER USER … ADD / ROTATE / MODIFY / REMOVE PROGRAMMATIC ACCESS TOKEN", "SHOW USER PROGRAMMATIC
//! ACCESS TOKENS". A name in double quotes is taken as it is, with `""` for a quote in it; a text in single quotes also
//! knows the backslash (`docs` "Identifier requirements", "String & binary data types"). A user's name, where the
//! gate's configuration has it, is without case, as Snowflake makes it of one that is not quoted. The SQL API gives all
//! values as texts, a time as seconds since 1970 with a fraction, and a `TIMESTAMP_TZ` with an offset in minutes behind
//! it (`docs` "Snowflake SQL API: handling responses"). The secret of a token is in the answer to ADD and ROTATE alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use super::rest;
use crate::base::rfc3339;
use crate::base::secret::Secret;

/// How long a statement may run at Snowflake, in seconds; it answers within 45 s, or with 202.
const RUNS: u64 = 40;

/// A statement about the tokens of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatement<'a> {
    /// Lists them.
    Show,
    /// Makes one, with a role that it is restricted to and a lifetime in days; without them Snowflake's own defaults.
    Add { token: &'a str, role: Option<&'a str>, days: Option<u64> },
    /// Makes a new secret; the old one goes on for these hours under another name.
    Rotate { token: &'a str, hours: u64 },
    /// Gives one another name.
    Rename { token: &'a str, to: &'a str },
    /// Disables one, or enables it again.
    SetDisabled { token: &'a str, disabled: bool },
    /// Ends one for good.
    Remove { token: &'a str },
}

impl TokenStatement<'_> {
    /// Its verb, for the log.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Show => "SHOW",
            Self::Add { .. } => "ADD",
            Self::Rotate { .. } => "ROTATE",
            Self::Rename { .. } => "RENAME",
            Self::SetDisabled { .. } => "MODIFY",
            Self::Remove { .. } => "REMOVE",
        }
    }

    /// The SQL for the tokens of this user. Nothing in a name can end it.
    pub fn sql(&self, user: &str) -> String {
        let user = identifier(user);
        match self {
            Self::Show => format!("SHOW USER PROGRAMMATIC ACCESS TOKENS FOR USER {user}"),
            Self::Add { token, role, days } => {
                let role = role.map(|role| format!(" ROLE_RESTRICTION = {}", text(role))).unwrap_or_default();
                let days = days.map(|days| format!(" DAYS_TO_EXPIRY = {days}")).unwrap_or_default();
                format!("ALTER USER {user} ADD PROGRAMMATIC ACCESS TOKEN {}{role}{days}", identifier(token))
            }
            Self::Rotate { token, hours } => format!(
                "ALTER USER {user} ROTATE PROGRAMMATIC ACCESS TOKEN {} EXPIRE_ROTATED_TOKEN_AFTER_HOURS = {hours}",
                identifier(token)
            ),
            Self::Rename { token, to } => {
                let (token, to) = (identifier(token), identifier(to));
                format!("ALTER USER {user} MODIFY PROGRAMMATIC ACCESS TOKEN {token} RENAME TO {to}")
            }
            Self::SetDisabled { token, disabled } => {
                let disabled = if *disabled { "TRUE" } else { "FALSE" };
                let token = identifier(token);
                format!("ALTER USER {user} MODIFY PROGRAMMATIC ACCESS TOKEN {token} SET DISABLED = {disabled}")
            }
            Self::Remove { token } => {
                format!("ALTER USER {user} REMOVE PROGRAMMATIC ACCESS TOKEN {}", identifier(token))
            }
        }
    }
}

/// The target and the body of a statement by the SQL API. `id` is new for each: Snowflake must never take one for
/// another that was sent before.
pub fn request(id: &str, sql: &str) -> (String, String) {
    (format!("{}?requestId={id}", rest::STATEMENTS), json!({ "statement": sql, "timeout": RUNS }).to_string())
}

/// A name without case, in quotes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.to_uppercase().replace('"', "\"\""))
}

/// A text in quotes.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The rows of an answer, which may hold a secret: it has no `Debug`.
#[derive(Deserialize)]
pub struct Rows {
    #[serde(rename = "resultSetMetaData")]
    described: Described,
    data: Vec<Vec<Option<String>>>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "rowType")]
    columns: Vec<Column>,
    #[serde(rename = "partitionInfo", default)]
    partitions: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// A token as SHOW lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownToken {
    /// Its name, in capitals.
    pub name: String,
    /// The role that it is restricted to.
    pub role: Option<String>,
    /// What Snowflake says of it.
    pub status: TokenStatus,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Of one that was rotated: the name of its successor.
    pub rotated_to: Option<String>,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenStatus {
    /// It lives.
    Active,
    /// It has ended.
    Expired,
    /// It, or its user, is disabled.
    Disabled,
    /// A word that is not known.
    Other(String),
}

/// A token that ADD or ROTATE has made.
pub struct MadeToken {
    /// Its name.
    pub name: String,
    /// The only copy of its secret.
    pub secret: Secret,
    /// The name that the old one has now, after ROTATE.
    pub rotated: Option<String>,
}

/// Why rows say nothing. The texts hold nothing of them but the names of columns and users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The answer is not the SQL API's, or holds a part of the rows only.
    #[error("the answer to the statement has another form, or not all rows")]
    Form,
    /// A column is missing.
    #[error("the answer to the statement has no column {0}, or nothing in it")]
    Column(&'static str),
    /// The tokens are another user's: without the privilege SHOW may list those of its caller.
    #[error(
        "Snowflake lists tokens of {0} in place of the user's: the rotator has no MODIFY PROGRAMMATIC AUTHENTICATION \
         METHODS on the user"
    )]
    OtherUser(String),
}

impl Rows {
    /// Reads the body of the SQL API's answer.
    ///
    /// # Errors
    /// [`RowsError::Form`].
    pub fn read(body: &[u8]) -> Result<Self, RowsError> {
        let rows: Self = serde_json::from_slice(body).map_err(|_| RowsError::Form)?;
        let width = rows.described.columns.len();
        let whole = rows.described.partitions.len() <= 1 && rows.data.iter().all(|row| row.len() == width);
        if whole { Ok(rows) } else { Err(RowsError::Form) }
    }

    /// The tokens that SHOW lists of a user. An empty list is no proof that the caller may see them.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn tokens(&self, user: &str) -> Result<Vec<ShownToken>, RowsError> {
        let user = user.to_uppercase();
        (0..self.data.len()).map(|row| self.token(row, &user)).collect()
    }

    fn token(&self, row: usize, user: &str) -> Result<ShownToken, RowsError> {
        let of = self.needed(row, "user_name")?;
        if of != user {
            return Err(RowsError::OtherUser(of.to_owned()));
        }
        let time = |name| self.value(row, name).and_then(time);
        Ok(ShownToken {
            name: self.needed(row, "name")?.to_owned(),
            role: self.value(row, "role_restriction").map(str::to_owned),
            status: match self.needed(row, "status")? {
                "ACTIVE" => TokenStatus::Active,
                "EXPIRED" => TokenStatus::Expired,
                "DISABLED" => TokenStatus::Disabled,
                other => TokenStatus::Other(other.to_owned()),
            },
            created: time("created_on"),
            expires: time("expires_at"),
            rotated_to: self.value(row, "rotated_to").map(str::to_owned),
        })
    }

    /// The token in the answer to ADD or ROTATE.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn made(&self) -> Result<MadeToken, RowsError> {
        Ok(MadeToken {
            name: self.needed(0, "token_name")?.to_owned(),
            secret: Secret::new(self.needed(0, "token_secret")?.to_owned()),
            rotated: self.value(0, "rotated_token_name").map(str::to_owned),
        })
    }

    fn needed(&self, row: usize, name: &'static str) -> Result<&str, RowsError> {
        self.value(row, name).ok_or(RowsError::Column(name))
    }

    /// The value of a column; `None` if it is missing, null or empty.
    fn value(&self, row: usize, name: &str) -> Option<&str> {
        let at = self.described.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        self.data.get(row)?.get(at)?.as_deref().filter(|value| !value.is_empty())
    }
}

/// A time of the SQL API.
fn time(value: &str) -> Option<SystemTime> {
    let seconds = value.split(' ').next()?.parse::<f64>().ok();
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        // To the second, as all times of the gate's own are.
        Some(since) => UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs())),
        None => rfc3339::parse(value),
    }
}

#[cfg(test)]
#[path = "token_statement_tests.rs"]
mod tests;
