//! Carries out the statements about tokens: who may, and what comes of it.
//!
//! Facts: a user may change its own tokens, and those of another with `MODIFY PROGRAMMATIC AUTHENTICATION METHODS` on
//! that user; without it the answer is SQL state 42501 with code 003001. A session that was opened with a PAT may not
//! change PATs of the same user (`docs` "ALTER USER … ROTATE PROGRAMMATIC ACCESS TOKEN").

use serde_json::json;

use super::sql_table::{Column, Kind, SqlRefused, Table, time};
use super::state::{Inner, Saying, State};
use super::token_sql::{self, Change, Statement};
use super::tokens::Token;
use super::users::User;
use crate::base::clock::Random;
use crate::base::epoch::EpochMillis;
use crate::base::secret::Secret;

/// Who runs a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// The user, in capitals.
    pub user: String,
    /// Whether a PAT let it in.
    pub by_pat: bool,
    /// The role that the PAT is restricted to.
    pub role: Option<String>,
}

/// What is done with a statement on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mishap {
    /// It is carried out, and the connection is dropped instead of the answer.
    Lost,
    /// It is refused.
    Refused(SqlRefused),
}

const SHOWN: [(&str, Kind); 10] = [
    ("name", Kind::Text),
    ("user_name", Kind::Text),
    ("role_restriction", Kind::Text),
    ("expires_at", Kind::Time),
    ("status", Kind::Text),
    ("comment", Kind::Text),
    ("created_on", Kind::Time),
    ("created_by", Kind::Text),
    ("mins_to_bypass_network_policy_requirement", Kind::Number),
    ("rotated_to", Kind::Text),
];

const DONE: &str = "Statement executed successfully.";

impl State {
    /// Runs a statement about tokens; `None` if it is about something else.
    pub(super) fn run(&self, caller: &Caller, sql: &str) -> Option<Result<Table, SqlRefused>> {
        let statement = match token_sql::parse(sql)? {
            Ok(statement) => statement,
            Err(refused) => return Some(Err(refused)),
        };
        Some(self.lock().run(caller, statement, self.wall(), &*self.env.random))
    }

    /// Runs a statement about tokens as a user that came in by its key pair, and gives the rows.
    ///
    /// # Errors
    /// Snowflake's refusal.
    pub fn run_as(&self, user: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, Saying> {
        let caller = Caller { user: user.to_uppercase(), ..Caller::default() };
        match self.run(&caller, sql) {
            Some(Ok(table)) => Ok(table.rows),
            Some(Err(refused)) => Err(refused.into_saying()),
            None => Err(SqlRefused::other("this is no statement about tokens").into_saying()),
        }
    }

    /// Loses the answers to the next statements with these words: they are carried out, and the connection is dropped.
    pub fn lose_answers(&self, words: &str, times: usize) {
        self.lock().mishaps.push_back((words.to_lowercase(), times, Mishap::Lost));
    }

    /// Refuses the next statements with these words.
    pub fn refuse_statements(&self, words: &str, times: usize, refusal: Saying, sql_state: &str) {
        let refused = SqlRefused { code: refusal.code, message: refusal.text, sql_state: sql_state.to_owned() };
        self.lock().mishaps.push_back((words.to_lowercase(), times, Mishap::Refused(refused)));
    }

    /// What is to be done with this statement on purpose.
    pub(super) fn mishap(&self, sql: &str) -> Option<Mishap> {
        let sql = sql.to_lowercase();
        let mut inner = self.lock();
        let place = inner.mishaps.iter().position(|(words, times, _)| *times > 0 && sql.contains(words))?;
        let (_, times, mishap) = &mut inner.mishaps[place];
        *times -= 1;
        let mishap = mishap.clone();
        inner.mishaps.retain(|(_, times, _)| *times > 0);
        Some(mishap)
    }
}

impl SqlRefused {
    pub(super) fn into_saying(self) -> Saying {
        Saying { code: self.code, text: self.message }
    }
}

impl Inner {
    fn run(
        &mut self,
        caller: &Caller,
        statement: Statement,
        now: EpochMillis,
        random: &dyn Random,
    ) -> Result<Table, SqlRefused> {
        match statement {
            Statement::Show { user } => {
                let name = user.unwrap_or_else(|| caller.user.clone());
                let shown = self.users.get(&name).ok_or_else(|| SqlRefused::missing("User", &name))?;
                self.allowed(caller, &name)?;
                Ok(show(&name, shown, now))
            }
            Statement::Decode { secret } => self.decode(caller, &Secret::new(secret), now),
            Statement::Alter { user, if_exists, change } => {
                let name = user.unwrap_or_else(|| caller.user.clone());
                if !self.users.contains_key(&name) {
                    return if if_exists { Ok(Table::status(DONE)) } else { Err(SqlRefused::missing("User", &name)) };
                }
                self.allowed(caller, &name)?;
                if caller.by_pat && caller.user == name {
                    return Err(SqlRefused::other(
                        "A session of a programmatic access token cannot change tokens of the same user.",
                    ));
                }
                let Some(user) = self.users.get_mut(&name) else { return Err(SqlRefused::missing("User", &name)) };
                let (table, secret) = carry_out(user, change, &caller.user, now, random)?;
                self.issued.extend(secret);
                Ok(table)
            }
        }
    }

    fn allowed(&self, caller: &Caller, user: &str) -> Result<(), SqlRefused> {
        let granted = self.users.get(&caller.user).is_some_and(|own| own.may_change.contains(user));
        if caller.user == user || granted { Ok(()) } else { Err(SqlRefused::privilege(user)) }
    }

    fn decode(&self, caller: &Caller, secret: &Secret, now: EpochMillis) -> Result<Table, SqlRefused> {
        let found = self.users.iter().find_map(|(name, user)| Some((name, user.by_secret(secret)?)));
        let (name, token) = found.ok_or_else(|| SqlRefused::other("Invalid programmatic access token."))?;
        self.allowed(caller, name)?;
        let text = json!({ "STATE": token.status(now).as_str(), "PAT_NAME": token.name, "USER_NAME": name });
        Ok(Table::row(&["SYSTEM$DECODE_PAT"], vec![text.to_string()]))
    }
}

fn show(name: &str, user: &User, now: EpochMillis) -> Table {
    let row = |token: &Token| {
        vec![
            Some(token.name.clone()),
            Some(name.to_owned()),
            token.role.clone(),
            Some(time(token.expires_at)),
            Some(token.status(now).as_str().to_owned()),
            token.comment.clone(),
            Some(time(token.created_on)),
            Some(token.created_by.clone()),
            None,
            token.rotated_to.clone(),
        ]
    };
    let columns = SHOWN.iter().map(|(name, kind)| Column { name, kind: *kind }).collect();
    Table { columns, rows: user.listed(now).map(row).collect() }
}

/// Carries out a change; gives the secret that it made, too.
fn carry_out(
    user: &mut User,
    change: Change,
    by: &str,
    now: EpochMillis,
    random: &dyn Random,
) -> Result<(Table, Option<Secret>), SqlRefused> {
    let secret = |ends| super::jwt::pat(random, ends);
    match change {
        Change::Add { wanted, if_not_exists } if if_not_exists && user.has_living(&wanted.name, now) => {
            return Ok((Table::status(&format!("{} already exists, statement succeeded.", wanted.name)), None));
        }
        Change::Add { wanted, .. } => {
            let token = user.add(wanted, by, now, secret)?;
            let row = vec![token.name.clone(), token.secret.expose().to_owned()];
            return Ok((Table::row(&["token_name", "token_secret"], row), Some(token.secret.clone())));
        }
        Change::Rotate { name, if_exists: true, .. } if !user.has(&name, now) => {}
        Change::Rotate { name, hours, .. } => {
            let (token, old) = user.rotate(&name, hours, by, now, secret)?;
            let row = vec![token.name.clone(), token.secret.expose().to_owned(), old];
            let table = Table::row(&["token_name", "token_secret", "rotated_token_name"], row);
            return Ok((table, Some(token.secret.clone())));
        }
        Change::Set { name, disabled, comment } => user.set(&name, disabled, comment, now)?,
        Change::Rename { name, to } => user.rename(&name, &to, now)?,
        Change::Remove { name } => user.remove(&name, now)?,
    }
    Ok((Table::status(DONE), None))
}

#[cfg(test)]
#[path = "token_run_tests.rs"]
mod tests;
