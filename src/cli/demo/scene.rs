//! The three scenes of the demo, each a few lines.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::driver::{Answered, Driver};
use super::follow::Told;
use super::ink::Ink;
use super::set_up::{CLIENT, Stage};
use crate::admit::key;
use crate::base::clock::SystemRandom;
use crate::base::fault::Owner;
use crate::base::names::{CLIENT_KEY_PREFIX, ClientName};
use crate::cli::shell::{CommandError, say};
use crate::standin::StandIn;
use crate::telemetry::captured_logs::Captured;

/// How often the demo rotates the PAT, and how many clients log in meanwhile.
const ROTATIONS: u64 = 20;
const CLIENTS: usize = 8;
/// How many logins pass between two rotations.
const BETWEEN: u64 = 25;

/// Shows all scenes.
pub(super) async fn play(stage: &Stage, log: &Captured) -> Result<(), CommandError> {
    let ink = Ink(std::io::stdout().is_terminal());
    let driver = Driver::new(stage.app.address, &stage.certificates.ca).map_err(CommandError::gate)?;
    let behind = if stage.standin.is_some() { "the built-in stand-in for Snowflake" } else { "the given Snowflake" };
    say(&format!(
        "{} on https://{}, before it a driver, behind it {behind}.\n",
        ink.bold("patgate"),
        stage.app.address
    ));
    login(stage, &driver, log, &ink).await?;
    match &stage.standin {
        Some(standin) => rotation(stage, standin, &driver, &ink).await?,
        None => say("The demo skips the rotation: it cannot rotate the PATs of this Snowflake.\n"),
    }
    refusal(&driver, log, &ink).await
}

/// Shows what the client holds, what Snowflake gets, and what the operator sees.
async fn login(stage: &Stage, driver: &Driver, log: &Captured, ink: &Ink) -> Result<(), CommandError> {
    say(&ink.bold("1  A login"));
    let answer = driver.login(stage.client_key.expose()).await.map_err(unexpected)?;
    let answer = accepted_or_explained(answer, log)?;
    let rows = driver.query(answer.data("token"), "select 1").await.and_then(accepted).map_err(unexpected)?;
    let key = stage.client_key.expose();
    say(&format!(
        "   the client held       {}…{}  (its key; no Snowflake token)",
        ink.green(&key[..12]),
        &key[key.len() - 4..]
    ));
    if let Some(seen) = stage.standin.as_ref().and_then(|standin| standin.state.seen().pop()) {
        let held_back = if seen.body.contains(CLIENT_KEY_PREFIX) {
            ink.red("the client's key with it")
        } else {
            "no trace of the client's key".into()
        };
        say(&format!(
            "   Snowflake received    the PAT {} as user {}, {held_back}",
            ink.green(&seen.credential),
            seen.user
        ));
    }
    say(&format!("   select 1 answered     {}", rows.body["data"]["rowset"][0][0]));
    trace(&answer.trace, log, ink);
    Ok(())
}

/// Clients log in while the demo rotates the PAT without any overlap.
async fn rotation(stage: &Stage, standin: &StandIn, driver: &Driver, ink: &Ink) -> Result<(), CommandError> {
    say(&ink.bold(&format!(
        "2  {ROTATIONS} rotations of the PAT while {CLIENTS} clients log in; each revokes the old PAT at once"
    )));
    let (good, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (driver, key) = (driver.clone(), stage.client_key.clone());
        let (good, bad, stop) = (good.clone(), bad.clone(), stop.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let ok = driver.login(key.expose()).await.is_ok_and(|answer| answer.ok());
                (if ok { &good } else { &bad }).fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let refused_before: u64 = standin.state.bad_logins().values().sum();
    for _ in 0..ROTATIONS {
        let next = standin.state.count("login") + BETWEEN;
        stage.rotate(standin)?;
        let enough = standin.state.wait_until(|state| state.count("login") >= next);
        if tokio::time::timeout(std::time::Duration::from_secs(30), enough).await.is_err() {
            return Err(CommandError::gate("logins no longer reach Snowflake"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    let refused: u64 = standin.state.bad_logins().values().sum::<u64>() - refused_before;
    let failed = bad.load(Ordering::Relaxed);
    let verdict = if failed == 0 { ink.green("0 failed") } else { ink.red(&format!("{failed} failed")) };
    say(&format!(
        "   {} logins, {verdict}; Snowflake refused an old PAT {refused} times, and no client noticed\n",
        good.load(Ordering::Relaxed) + failed
    ));
    if failed == 0 { Ok(()) } else { Err(CommandError::gate("logins failed during the rotation")) }
}

/// Shows a wrong key, on both sides.
async fn refusal(driver: &Driver, log: &Captured, ink: &Ink) -> Result<(), CommandError> {
    say(&ink.bold("3  A wrong key"));
    let name = ClientName::parse(CLIENT).ok_or_else(|| CommandError::gate("no name"))?;
    let wrong = key::issue(&name, &SystemRandom).map_err(CommandError::gate)?;
    let answer = driver.login(wrong.expose()).await.map_err(unexpected)?;
    if answer.ok() {
        return Err(CommandError::gate("the gate accepted a wrong key"));
    }
    let message = answer.body["message"].as_str().unwrap_or_default();
    say(&format!("   the tool shows        {}", ink.red(message)));
    trace(&answer.trace, log, ink);
    Ok(())
}

/// The log lines of a trace id, as the operator finds them.
fn trace(id: &str, log: &Captured, ink: &Ink) {
    say(&format!("   trace                 {}", ink.cyan(id)));
    for line in log.lines_with(id) {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap_or_default();
        let shown: Vec<String> = fields
            .iter()
            .filter(|(name, _)| !["timestamp", "level", "target", "trace", "next_step"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        say(&format!("     {}", ink.dim(&shown.join("  "))));
    }
    say("");
}

fn accepted(answer: Answered) -> Result<Answered, String> {
    match answer.ok() {
        true => Ok(answer),
        false => Err(answer.body["message"].as_str().unwrap_or("refused without a message").to_owned()),
    }
}

/// The reader of the demo is the operator too: a refusal comes with the cause and the operator's next step.
fn accepted_or_explained(answer: Answered, log: &Captured) -> Result<Answered, CommandError> {
    let trace = answer.trace.clone();
    accepted(answer).map_err(|said| {
        let lines = log.lines_with(&trace).into_iter();
        let failed = lines.filter_map(|line| Told::read(&line)).find(|told| told.next_step.is_some());
        let text = failed.as_ref().map_or_else(String::new, |told| format!("\n{}", told.explained().join("\n")));
        let owner = failed.and_then(|told| told.owner());
        CommandError { code: owner.unwrap_or(Owner::Gate).exit_code(), ..unexpected(format!("{said}{text}")) }
    })
}

fn unexpected(why: String) -> CommandError {
    CommandError::gate(format!("the demo failed: {why}"))
}
