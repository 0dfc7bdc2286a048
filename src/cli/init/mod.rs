//! `patgate init`: from nothing to a gate that has logged in, in one sitting. Everything is proven in a directory
//! beside its place; only then it is moved there, so that nothing half is left.

mod answers;
mod proofs;
mod written;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::client;
use super::doctor;
use super::shell::{CommandError, control_runtime, say};
use super::signal::Signals;
use super::{cert, check};
use crate::admit::key;
use crate::app::App;
use crate::base::clock::{Env, SystemRandom};
use crate::base::epoch::EpochMillis;
use crate::base::fault::Owner;
use crate::base::secret::Secret;
use crate::config::{Account, Config, file};
use crate::state::private;
use crate::telemetry::history::Reader;
use answers::Answers;
pub(super) use answers::InitArgs;

/// How long the first certificate is valid, in days.
const DAYS: u32 = 365;
/// How long the end of what runs in the background may take.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The directory in which everything is proven.
const STAGE: &str = ".init";

/// The command.
pub(super) fn init(args: &InitArgs) -> Result<(), CommandError> {
    let runtime = control_runtime()?;
    let answers = runtime.block_on(args.answers(&Env::default()))?;
    let stage = Stage::new(&answers.dir)?;
    let issued = key::issue(&answers.client, &SystemRandom).map_err(CommandError::gate)?;
    cert::make(&stage.path.join("tls"), &[answers.host.clone(), "localhost".to_owned()], DAYS)?;
    let file = stage.path.join("patgate.toml");
    let text = written::configuration(&answers, &key::stored(&issued));
    fs::write(&file, text).map_err(|error| cannot(&file, &error))?;
    let (mut config, _) = file::load(&file).map_err(CommandError::gate)?;
    are_free(&[config.listen.address, config.admin.address])?;
    // No other gate of this machine is asked, and no other state is written to.
    (config.listen.address, config.admin.address) = (ANY, ANY);
    config.state.directory = Some(stage.path.join("state"));
    let worked = runtime.block_on(async {
        let mut signals = Signals::new().map_err(CommandError::gate)?;
        tokio::select! {
            worked = prove(&answers, config, &issued, &stage.path) => worked,
            () = signals.stop() => {
                Err(CommandError::of(Owner::Client, "the set-up was broken off; nothing is left of it"))
            }
        }
    });
    // What runs in the background has files of the state open, and Windows moves no directory then.
    runtime.shutdown_timeout(SHUTDOWN);
    let (proven, trace) = worked?;
    stage.keep(&answers.dir)?;
    told(args, &answers, &issued, &proven, trace.as_deref())
}

/// The directory in which everything is proven. Dropped, it is gone, with all that the set-up has made.
struct Stage {
    path: PathBuf,
    made: Option<PathBuf>,
    kept: bool,
}

impl Stage {
    fn new(dir: &Path) -> Result<Self, CommandError> {
        for name in ["patgate.toml", "tls", "state", STAGE] {
            let there = dir.join(name);
            if there.exists() {
                let what = match name {
                    STAGE => "is left of a set-up that was killed: delete it",
                    _ => "is there already, and nothing is overwritten; choose another --dir",
                };
                return Err(CommandError::gate(format!("{} {what}", there.display())));
            }
        }
        // The topmost directory that is made for it.
        let made = dir.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists()).last();
        let made = made.map(Path::to_owned);
        let path = dir.join(STAGE);
        fs::create_dir_all(&path).map_err(|error| cannot(&path, &error))?;
        Ok(Self { path, made, kept: false })
    }

    /// Moves everything to its place.
    fn keep(mut self, dir: &Path) -> Result<(), CommandError> {
        let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
        for name in ["tls", "state", "patgate.toml"] {
            let (from, to) = (self.path.join(name), dir.join(name));
            if !from.exists() {
                continue;
            }
            if let Err(error) = private::rename(&from, &to) {
                // What was moved would keep the next try from its place.
                for (from, to) in &moved {
                    let _left = private::rename(to, from);
                }
                return Err(cannot(&to, &error));
            }
            moved.push((from, to));
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _not_there = fs::remove_dir_all(&self.path);
        if let (Some(made), false) = (&self.made, self.kept) {
            let _not_there = fs::remove_dir_all(made);
        }
    }
}

/// A port that the system chooses, on this machine alone.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Whether the gate can listen there later.
fn are_free(addresses: &[SocketAddr]) -> Result<(), CommandError> {
    for address in addresses {
        std::net::TcpListener::bind(address).map_err(|error| {
            let text =
                format!("the gate cannot listen on {address}: {error}. Choose another --port, or another --admin");
            CommandError::gate(text)
        })?;
    }
    Ok(())
}

/// Proves each part, and then the whole by a login; what was proven, and the trace id.
async fn prove(
    answers: &Answers,
    config: Config,
    key: &Secret,
    stage: &Path,
) -> Result<(Vec<String>, Option<String>), CommandError> {
    let proven = check::prove(&config).await.map_err(|failed| match failed.code {
        code if [Owner::Snowflake, Owner::Policy].iter().any(|owner| owner.exit_code() == code) => {
            let user = &answers.user;
            let text = format!(
                "{}\nIf Snowflake refused the login, it was a bad login of {user}, and five in a row lock the user: \
                 correct the PAT before the next try",
                failed.text.trim_end()
            );
            CommandError { text, ..failed }
        }
        _ => failed,
    })?;
    let trace = log_in(answers, config, key, stage).await?;
    Ok((proven, trace))
}

/// Runs the gate for one login by the new key, through its own certificate; returns the login's trace id.
async fn log_in(answers: &Answers, config: Config, key: &Secret, stage: &Path) -> Result<Option<String>, CommandError> {
    let app = App::start(config, Env::default()).await.map_err(CommandError::gate)?;
    let gate = Account {
        host: answers.host.clone(),
        port: app.address.port(),
        address: Some(app.address.to_string()),
        ca: Some(stage.join("tls/ca.pem")),
        name: "gate".to_owned(),
        in_flight: None,
        proxy: None,
    };
    let failed = doctor::through(&answers.host, &gate, key, &Env::default()).await;
    app.stop().await;
    if let Some(failed) = failed? {
        return Err(CommandError::gate(format!("a login through the gate fails: {failed}")));
    }
    let now = EpochMillis::of(Env::default().clock.wall());
    let history = Reader::open(&stage.join("state")).map_err(CommandError::gate)?;
    let login = history.last_success(answers.client.as_str(), EpochMillis(now.0 + 1)).map_err(CommandError::gate)?;
    Ok(login.map(|login| login.trace))
}

fn told(
    args: &InitArgs,
    answers: &Answers,
    key: &Secret,
    proven: &[String],
    trace: Option<&str>,
) -> Result<(), CommandError> {
    let file = answers.dir.join("patgate.toml");
    if args.json {
        say(&json!({ "configuration": file, "client": answers.client.as_str(), "key": key.expose(), "trace": trace })
            .to_string());
        return Ok(());
    }
    proven.iter().for_each(|line| say(line));
    say(&format!(
        "\nA login through the gate worked: trace {}.\n\nThe key of {}, shown only now:\n\n  {}\n\nRun it: patgate \
         run --config {}\n",
        trace.unwrap_or("unknown"),
        answers.client,
        key.expose(),
        file.display()
    ));
    let (ca, ca_key) = (answers.dir.join("tls/ca.pem"), answers.dir.join("tls/ca.key"));
    say(&format!(
        "Then: copy {} to the machines of the tools, and name their `networks` in the file: so far only this machine \
         may log in. Keep {} away from this machine: only `patgate cert init --renew` needs it.\n",
        ca.display(),
        ca_key.display()
    ));
    let ca = ca.display().to_string();
    client::show(&file, answers.client.as_str(), answers.tool, &ca)
}

fn cannot(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::gate(format!("{}: {error}", path.display()))
}
