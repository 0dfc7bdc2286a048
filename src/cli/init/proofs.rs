//! Each answer is proven as soon as it is given, so that whoever sits at the terminal is asked again for what is wrong.
//! Nothing is sent to Snowflake but a TLS handshake: a login with a wrong PAT would be a bad login.

use std::path::Path;
use std::sync::Arc;

use super::answers::Answers;
use super::written;
use crate::app::resolver;
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::cli::shell::CommandError;
use crate::config::{Config, file};
use crate::upstream::AccountState;

/// Whether the account is reached, and shows a certificate that this machine trusts.
pub(super) async fn account(answers: &Answers, env: &Env) -> Result<(), CommandError> {
    let config = config(answers)?;
    for account in config.accounts.values() {
        let state = AccountState::new(account, &config.upstream, None).map_err(CommandError::gate)?;
        let look = state.look(&*env.clock).await;
        if let Some(failed) =
            [&look.resolve, &look.connect, &look.tls].into_iter().find(|trial| trial.ok == Some(false))
        {
            let next = failed.kind.map(|kind| kind.page().next_step).unwrap_or_default();
            let text = format!("{} is not reached: {}. {next}", answers.account, failed.what);
            return Err(CommandError::of(failed.kind.map_or(Owner::Snowflake, |kind| kind.rule().owner), text));
        }
    }
    Ok(())
}

/// Whether the store gives a PAT.
pub(super) async fn pat(answers: &Answers, env: &Env) -> Result<(), CommandError> {
    let config = config(answers)?;
    let resolver = resolver(&config, &env.clock, &Arc::default()).map_err(CommandError::gate)?;
    for credential in config.credentials.values() {
        for reference in credential.login.secret().iter() {
            let read = resolver.read(&credential.login, reference).await;
            read.map_err(|error| CommandError::of(Owner::Store, format!("{reference}: {error}")))?;
        }
    }
    Ok(())
}

/// The configuration as far as it is known.
fn config(answers: &Answers) -> Result<Config, CommandError> {
    let nobody = format!("sha256:{}", "0".repeat(64));
    let file = std::path::absolute(&answers.dir).unwrap_or_default().join("patgate.toml");
    let parsed = file::parse(Path::new(&file), &written::configuration(answers, &nobody));
    parsed.map(|(config, _)| config).map_err(|report| CommandError::of(Owner::Client, report))
}
