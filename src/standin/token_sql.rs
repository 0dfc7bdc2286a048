//! Reads the statements about programmatic access tokens.
//!
//! Facts: `docs` "ALTER USER … ADD / ROTATE / MODIFY / REMOVE PROGRAMMATIC ACCESS TOKEN", "SHOW USER PROGRAMMATIC
//! ACCESS TOKENS", "SYSTEM$DECODE_PAT"; the SDK of snowflakedb/terraform-provider-snowflake. Keywords and bare names
//! are without case; a quoted user name is taken as it is.

use super::lexemes::{Lexeme, lexemes};
use super::sql_table::SqlRefused;
use super::tokens::Wanted;

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// `SHOW USER PATS`.
    Show { user: Option<String> },
    /// `ALTER USER`.
    Alter { user: Option<String>, if_exists: bool, change: Change },
    /// `SELECT SYSTEM$DECODE_PAT('…')`.
    Decode { secret: String },
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Add { wanted: Wanted, if_not_exists: bool },
    Rotate { name: String, if_exists: bool, hours: Option<u64> },
    Set { name: String, disabled: Option<bool>, comment: Option<String> },
    Rename { name: String, to: String },
    Remove { name: String },
}

/// Reads a statement; `None` if it is about something else.
pub(super) fn parse(sql: &str) -> Option<Result<Statement, SqlRefused>> {
    let mut reader = Reader { lexemes: lexemes(sql), at: 0 };
    let read: fn(&mut Reader) -> Result<Statement, SqlRefused> = if reader.take_all(&["ALTER", "USER"]) {
        Reader::alter
    } else if reader.take_all(&["SHOW", "USER"]) {
        Reader::show
    } else if reader.take_all(&["SELECT", "SYSTEM$DECODE_PAT"]) {
        Reader::decode
    } else {
        return None;
    };
    Some(read(&mut reader).and_then(|statement| reader.end().map(|()| statement)))
}

struct Reader {
    lexemes: Vec<Lexeme>,
    at: usize,
}

impl Reader {
    fn next(&mut self) -> Option<Lexeme> {
        let lexeme = self.lexemes.get(self.at).cloned();
        self.at += usize::from(lexeme.is_some());
        lexeme
    }

    fn wrong<T>(&self) -> Result<T, SqlRefused> {
        Err(SqlRefused::syntax(&match self.lexemes.get(self.at) {
            Some(Lexeme::Word(word) | Lexeme::Quoted(word)) => word.clone(),
            // The text may be a secret.
            Some(Lexeme::Text(_)) => "'…'".to_owned(),
            Some(Lexeme::Symbol(symbol)) => symbol.to_string(),
            None => "<EOF>".to_owned(),
        }))
    }

    /// Takes these words if they are what follows.
    fn take_all(&mut self, words: &[&str]) -> bool {
        let follows = |(lexeme, word): (&Lexeme, &&str)| matches!(lexeme, Lexeme::Word(it) if it == word);
        let rest = &self.lexemes[self.at..];
        let taken = rest.len() >= words.len() && rest.iter().zip(words).all(follows);
        self.at += if taken { words.len() } else { 0 };
        taken
    }

    fn need(&mut self, words: &[&str]) -> Result<(), SqlRefused> {
        if self.take_all(words) { Ok(()) } else { self.wrong() }
    }

    fn symbol(&mut self, wanted: char) -> Result<(), SqlRefused> {
        match self.lexemes.get(self.at) {
            Some(Lexeme::Symbol(symbol)) if *symbol == wanted => {
                self.at += 1;
                Ok(())
            }
            _ => self.wrong(),
        }
    }

    fn end(&mut self) -> Result<(), SqlRefused> {
        while self.symbol(';').is_ok() {}
        if self.at == self.lexemes.len() { Ok(()) } else { self.wrong() }
    }

    /// The name of a user.
    fn user(&mut self) -> Result<String, SqlRefused> {
        match self.next() {
            Some(Lexeme::Word(name) | Lexeme::Quoted(name)) => Ok(name),
            _ => {
                self.at = self.at.saturating_sub(1);
                self.wrong()
            }
        }
    }

    /// The name of a token: letters, digits and underscores, kept in capitals.
    fn token(&mut self) -> Result<String, SqlRefused> {
        let name = self.user()?.to_uppercase();
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            Ok(name)
        } else {
            Err(SqlRefused::syntax(&name))
        }
    }

    fn text(&mut self) -> Result<String, SqlRefused> {
        match self.lexemes.get(self.at) {
            Some(Lexeme::Text(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => self.wrong(),
        }
    }

    fn number(&mut self) -> Result<u64, SqlRefused> {
        match self.lexemes.get(self.at) {
            Some(Lexeme::Word(word)) if word.bytes().all(|c| c.is_ascii_digit()) => {
                let Ok(number) = word.parse() else { return self.wrong() };
                self.at += 1;
                Ok(number)
            }
            _ => self.wrong(),
        }
    }

    /// `NAME =`, once.
    fn option(&mut self, name: &str, seen: bool) -> Result<bool, SqlRefused> {
        let at = self.at;
        if !self.take_all(&[name]) {
            return Ok(false);
        }
        if seen {
            self.at = at;
            return self.wrong();
        }
        self.symbol('=').map(|()| true)
    }

    /// `PROGRAMMATIC ACCESS TOKEN` or `PAT`.
    fn is_pat(&mut self) -> bool {
        self.take_all(&["PAT"]) || self.take_all(&["PROGRAMMATIC", "ACCESS", "TOKEN"])
    }

    fn show(&mut self) -> Result<Statement, SqlRefused> {
        if !self.take_all(&["PATS"]) {
            self.need(&["PROGRAMMATIC", "ACCESS", "TOKENS"])?;
        }
        let user = if self.take_all(&["FOR", "USER"]) { Some(self.user()?) } else { None };
        Ok(Statement::Show { user })
    }

    fn decode(&mut self) -> Result<Statement, SqlRefused> {
        self.symbol('(')?;
        let secret = self.text()?;
        self.symbol(')')?;
        Ok(Statement::Decode { secret })
    }

    fn alter(&mut self) -> Result<Statement, SqlRefused> {
        let if_exists = self.take_all(&["IF", "EXISTS"]);
        if let Some(change) = self.change()? {
            return Ok(Statement::Alter { user: None, if_exists, change });
        }
        let user = Some(self.user()?);
        match self.change()? {
            Some(change) => Ok(Statement::Alter { user, if_exists, change }),
            None => self.wrong(),
        }
    }

    fn change(&mut self) -> Result<Option<Change>, SqlRefused> {
        let start = self.at;
        for (verb, read) in [
            ("ADD", Self::add as fn(&mut Self) -> Result<Change, SqlRefused>),
            ("ROTATE", Self::rotate),
            ("MODIFY", Self::modify),
            ("REMOVE", |reader| Ok(Change::Remove { name: reader.token()? })),
        ] {
            // A user may have such a name.
            if self.take_all(&[verb]) && self.is_pat() {
                return read(self).map(Some);
            }
            self.at = start;
        }
        Ok(None)
    }

    fn add(&mut self) -> Result<Change, SqlRefused> {
        let if_not_exists = self.take_all(&["IF", "NOT", "EXISTS"]);
        let mut wanted = Wanted { name: self.token()?, ..Wanted::default() };
        loop {
            if self.option("ROLE_RESTRICTION", wanted.role.is_some())? {
                wanted.role = Some(self.text()?.to_uppercase());
            } else if self.option("DAYS_TO_EXPIRY", wanted.days.is_some())? {
                wanted.days = Some(self.number()?);
            } else if self.option("COMMENT", wanted.comment.is_some())? {
                wanted.comment = Some(self.text()?);
            } else {
                return Ok(Change::Add { wanted, if_not_exists });
            }
        }
    }

    fn rotate(&mut self) -> Result<Change, SqlRefused> {
        let if_exists = self.take_all(&["IF", "EXISTS"]);
        let name = self.token()?;
        let hours = match self.option("EXPIRE_ROTATED_TOKEN_AFTER_HOURS", false)? {
            true => Some(self.number()?),
            false => None,
        };
        Ok(Change::Rotate { name, if_exists, hours })
    }

    fn modify(&mut self) -> Result<Change, SqlRefused> {
        let name = self.token()?;
        if self.take_all(&["RENAME", "TO"]) {
            return Ok(Change::Rename { name, to: self.token()? });
        }
        self.need(&["SET"])?;
        let (mut disabled, mut comment) = (None, None);
        loop {
            if self.option("DISABLED", disabled.is_some())? {
                disabled = Some(self.take_all(&["TRUE"]));
                if disabled == Some(false) {
                    self.need(&["FALSE"])?;
                }
            } else if self.option("COMMENT", comment.is_some())? {
                comment = Some(self.text()?);
            } else if disabled.is_none() && comment.is_none() {
                return self.wrong();
            } else {
                return Ok(Change::Set { name, disabled, comment });
            }
            let _comma_between = self.symbol(',');
        }
    }
}

#[cfg(test)]
#[path = "token_sql_tests.rs"]
mod tests;
