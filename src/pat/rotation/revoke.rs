//! The end of a PAT that must not be used any more: at Snowflake by the rotator, and at this gate.

use serde::{Deserialize, Serialize};

use super::failure::RotationFailure;
use super::settings::RotatedToken;
use super::statements::NotRun;
use super::tidy::rotated;
use crate::base::ids::{PatId, ServiceUser};
use crate::pat::{Inner, Pats};
use crate::snowflake::token_statement::{TokenStatement, identifier, text};
use crate::telemetry::act;

/// What ends a PAT. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The credential.
    pub credential: String,
    /// The version that the gate has.
    pub version: Option<PatId>,
    /// The statements that end its tokens at Snowflake.
    pub statements: Vec<String>,
    /// The rotator that runs them; `None`: somebody has to run them at Snowflake.
    pub rotator: Option<String>,
    /// The query that finds what the token was used for.
    pub query: String,
}

impl Pats {
    /// What ends the PAT of a credential: its token is disabled, or removed for good. `None` if there is no such
    /// credential.
    ///
    /// # Errors
    /// If the rotator cannot look.
    pub async fn revocation(&self, credential: &str, remove: bool) -> Option<Result<Revocation, RotationFailure>> {
        let user = self.inner.users.get(credential)?;
        Some(self.inner.revocation(credential, user, remove).await)
    }

    /// Whether two credentials log in as one service user, so that a verdict about its PAT is about both.
    pub fn have_one_user(&self, one: &str, other: &str) -> bool {
        let users = &self.inner.users;
        users.get(one).is_some_and(|user| users.get(other).is_some_and(|other| user.tag() == other.tag()))
    }

    /// The versions of its token that the gate knows: the one in memory, and those that rotations made or replaced.
    /// What leaked may be any of them.
    async fn known_versions(&self, credential: &str) -> Vec<PatId> {
        let inner = &self.inner;
        let mut versions: Vec<_> =
            inner.cache.of(credential).await.into_iter().flatten().map(|pat| pat.fetched.id.clone()).collect();
        if let Some(token) = inner.rotations.tokens.get(credential)
            && let Ok(entry) = inner.entry(token)
        {
            versions.extend(entry.versions.into_iter().map(|known| known.version));
        }
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// Has this gate and its replicas send no version of a credential's token any more; the versions.
    pub async fn use_no_more(&self, credential: &str) -> Vec<PatId> {
        let (inner, versions) = (&self.inner, self.known_versions(credential).await);
        let Some(user) = inner.users.get(credential) else { return versions };
        for version in &versions {
            inner.guard.change(user, |ledger| ledger.revoked(version, inner.env.clock.now()));
            inner.replicas.iter().for_each(|replicas| replicas.condemned(user, version));
        }
        versions
    }

    /// Ends it: at Snowflake where there is a rotator, and at this gate and its replicas in any case.
    ///
    /// # Errors
    /// If the rotator cannot do it. The gate does not use the version any more in any case.
    pub async fn revoke(
        &self,
        credential: &str,
        remove: bool,
        by: &str,
    ) -> Option<Result<Revocation, RotationFailure>> {
        let (inner, user) = (&self.inner, self.inner.users.get(credential)?);
        // Again, where the caller has done so: a rotation may have ended meanwhile, with another version.
        self.use_no_more(credential).await;
        let outcome = inner.end_tokens(credential, remove).await;
        let said = match &outcome {
            Ok(()) if !inner.rotations.tokens.contains_key(credential) => {
                "its PAT is revoked at this gate; somebody has to run the statements at Snowflake".to_owned()
            }
            Ok(()) => "its PAT is revoked".to_owned(),
            Err(failure) => format!("its PAT is revoked at this gate, and not at Snowflake: {}", failure.cause),
        };
        tracing::warn!(credential, said, "the operator revokes a PAT");
        inner.act(act::PAT_REVOKED, format!("{credential}: {said}"), Some(by));
        let revocation = inner.revocation(credential, user, remove).await;
        let here = |failure: RotationFailure| RotationFailure {
            cause: format!("this gate uses the PAT no more, but it lives at Snowflake: {}", failure.cause),
            next_step: "Run the statements of --dry-run at Snowflake, or this command again".to_owned(),
            ..failure
        };
        Some(outcome.map_err(here).and(revocation))
    }
}

impl Inner {
    async fn revocation(
        &self,
        credential: &str,
        user: &ServiceUser,
        remove: bool,
    ) -> Result<Revocation, RotationFailure> {
        let cached = self.cache.of(credential).await.and_then(Result::ok);
        let version = cached.as_ref().map(|pat| pat.fetched.id.clone());
        if cached.is_some_and(|pat| pat.fetched.secret.pat().is_none()) {
            return Ok(of_key_pair(credential, version, user));
        }
        let token = self.rotations.tokens.get(credential);
        let names = match token {
            // Where the rotator cannot look, the token has the name of the configuration.
            Some(token) => self.names(token).await.unwrap_or_else(|_| vec![token.terms.token.clone()]),
            None => vec!["TOKEN_NAME".to_owned()],
        };
        let statements = names.iter().map(|token| end(token, remove).sql(user.user())).collect();
        let rotator = token.map(|token| token.rotator.name.to_string());
        let credential = credential.to_owned();
        Ok(Revocation { credential, version, statements, rotator, query: query(user, &names) })
    }

    /// The tokens that the store's secret may be: the token itself, and what was rotated from it and still lives.
    async fn names(&self, token: &RotatedToken) -> Result<Vec<String>, RotationFailure> {
        let statements = self.statements(token);
        let (tokens, now) = (statements.show().await?, self.env.clock.wall());
        let name = &token.terms.token;
        let current = tokens.iter().filter(|one| one.name == *name && one.expires.is_none_or(|end| end > now));
        let mut names: Vec<_> = current.chain(rotated(name, &tokens, now)).map(|one| one.name.clone()).collect();
        names.dedup();
        Ok(names)
    }

    async fn end_tokens(&self, credential: &str, remove: bool) -> Result<(), RotationFailure> {
        let Some(token) = self.rotations.tokens.get(credential) else {
            // Somebody runs the statements at Snowflake.
            return Ok(());
        };
        // A rotation meanwhile would give the old secret another name. What leaked must end all the same.
        let turn = match self.rotations.journal(token) {
            Ok((state, journal)) => self.turn(&state, token, &journal, true).await,
            Err(no_state) => Err(no_state),
        };
        if let Err(RotationFailure { cause, .. }) = &turn {
            let next_step = "Revoke it again when that is over: a token that is made meanwhile would stay";
            tracing::warn!(cause, next_step, owner = "gate", "a token is revoked without the turn to change it");
        }
        let ended = self.end_each(token, remove).await;
        if let Ok(turn) = turn {
            turn.give_back().await;
        }
        ended
    }

    async fn end_each(&self, token: &RotatedToken, remove: bool) -> Result<(), RotationFailure> {
        let statements = self.statements(token);
        for name in self.names(token).await? {
            match statements.run(end(&name, remove)).await {
                Ok(_) | Err(NotRun::Missing(_)) => {}
                Err(failed) => return Err(failed.failure()),
            }
        }
        Ok(())
    }
}

/// What ends a key pair. It has two places at Snowflake, so that one can be replaced while the other serves (`docs`
/// "Key-pair authentication and key-pair rotation").
fn of_key_pair(credential: &str, version: Option<PatId>, user: &ServiceUser) -> Revocation {
    let name = identifier(user.user());
    let statements = ["RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2"].map(|place| format!("ALTER USER {name} UNSET {place}"));
    let query = format!(
        "SELECT event_timestamp, client_ip, reported_client_type, reported_client_version, is_success\n\
         FROM snowflake.account_usage.login_history\nWHERE user_name = {} AND first_authentication_factor = \
         'RSA_KEYPAIR'\nORDER BY event_timestamp DESC",
        text(user.user())
    );
    Revocation { credential: credential.to_owned(), version, statements: statements.into(), rotator: None, query }
}

fn end(token: &str, remove: bool) -> TokenStatement<'_> {
    match remove {
        true => TokenStatement::Remove { token },
        false => TokenStatement::SetDisabled { token, disabled: true },
    }
}

/// The logins of a user with these tokens (`docs` "LOGIN_HISTORY view", "CREDENTIALS view").
fn query(user: &ServiceUser, tokens: &[String]) -> String {
    let names: Vec<_> = tokens.iter().map(|token| text(token)).collect();
    format!(
        "SELECT l.event_timestamp, l.client_ip, l.reported_client_type, l.reported_client_version, l.is_success, \
         c.name AS token\nFROM snowflake.account_usage.login_history l\nJOIN snowflake.account_usage.credentials c \
         ON c.credential_id = l.first_authentication_factor_id\nWHERE l.user_name = {} AND c.name IN ({})\n\
         ORDER BY l.event_timestamp DESC",
        text(user.user()),
        names.join(", ")
    )
}
