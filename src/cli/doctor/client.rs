//! The chain from a tool's machine to a gate, and through it to a statement at Snowflake, with a client key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use super::drivers::{self, Refusal};
use super::step::{Link, Step};
use crate::admit::key::{ClientKey, NoKey};
use crate::base::clock::Env;
use crate::base::fault::{Fault, Kind, Owner, chain};
use crate::base::ids::SessionId;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::base::trial::Trial;
use crate::cli::shell::CommandError;
use crate::config::{Account, Upstream};
use crate::snowflake::login::client_login;
use crate::snowflake::refusal::Refusal as Refused;
use crate::snowflake::route::LOGIN;
use crate::snowflake::statement;
use crate::upstream::{AccountClient, AccountState, Look, Opened};

/// How long the way and the login may take together, a statement, and the logout; so that all end within 20 s.
const PATIENCE: Duration = Duration::from_secs(14);
const STATEMENT: Duration = Duration::from_secs(3);
const LOGOUT: Duration = Duration::from_secs(2);

/// From a tool's machine.
#[derive(Args)]
pub(super) struct ClientArgs {
    /// Look from a tool's machine: log in to the gate at this address with a client key. No configuration is read.
    #[arg(long, value_name = "HOST:PORT", requires = "key_file")]
    pub client: Option<String>,
    /// The file with the client key.
    #[arg(long, value_name = "FILE", requires = "client")]
    key_file: Option<PathBuf>,
    /// The roots that the gate's certificate is verified with [default: those of this machine].
    #[arg(long, value_name = "FILE", requires = "client")]
    ca: Option<PathBuf>,
}

/// The steps to the gate at `HOST:PORT`.
///
/// # Errors
/// If the command line is wrong, or a file of it cannot be read.
pub(super) async fn steps(gate: &str, args: &ClientArgs, env: &Env) -> Result<Vec<Step>, CommandError> {
    let wrong = |text: String| CommandError::of(Owner::Client, text);
    let (host, port) = gate
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
        .ok_or_else(|| wrong("write the gate's host and port, such as --client gate.example.com:8443".to_owned()))?;
    let path = args.key_file.clone().unwrap_or_default();
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    let key = Secret::new(bare(&text).to_owned());
    let gate_as_account = Account {
        host: host.to_owned(),
        port,
        address: None,
        ca: args.ca.clone(),
        name: host.split('.').next().unwrap_or(host).to_owned(),
        in_flight: None,
        proxy: None,
    };
    through(gate, &gate_as_account, &key, &path, env).await
}

/// The steps to a gate, which stands in the place of an account.
///
/// # Errors
/// If its roots cannot be used.
pub(in crate::cli) async fn through(
    gate: &str,
    as_account: &Account,
    key: &Secret,
    path: &Path,
    env: &Env,
) -> Result<Vec<Step>, CommandError> {
    let limits = Upstream { connect: PATIENCE, first_byte: PATIENCE, silence: PATIENCE, keep: Duration::from_secs(30) };
    let state =
        AccountState::new(as_account, &limits, None).map_err(|error| CommandError::of(Owner::Client, chain(&error)))?;
    let key_step = of_key(key, path);
    let sendable = key_step.ok == Some(true);
    let begun = env.clock.now();
    let look = state.look(&*env.clock).await;
    let left = PATIENCE.saturating_sub(env.clock.now().saturating_duration_since(begun));
    let mut steps = vec![key_step];
    steps.extend(of_look(gate, &look, env));
    match sendable && look.tls.ok == Some(true) {
        true => steps.extend(log_in(gate, &state, key, left, env).await),
        false => steps.extend(
            [Link::ClientLogin, Link::Select]
                .map(|link| Step::unknown(link, gate, "not tried: a step before it failed")),
        ),
    }
    Ok(steps)
}

/// Whether the file has a client key. Anything else, which may be a password or a PAT, is sent nowhere.
fn of_key(key: &Secret, path: &Path) -> Step {
    let kind = match ClientKey::parse(key) {
        Ok(key) => return Step::good(Link::Key, "", format!("a key of the client {}", key.client)),
        Err(NoKey::Foreign) => Kind::KeyForeign,
        Err(NoKey::Damaged) => Kind::KeyDamaged,
    };
    let what = format!("{}: {}; it is not sent", path.display(), kind.rule().message);
    Step::failed(Link::Key, "", kind, what).next(kind.rule().client_step)
}

/// The way to the gate. Between a tool and a gate it is the network's, and a certificate that this machine does not
/// trust is the client's to mend, unless it has ended.
fn of_look(gate: &str, look: &Look, env: &Env) -> Vec<Step> {
    let network = |link, trial: &Trial, next: &str| match trial.ok {
        Some(false) => Step::bad(link, gate, Owner::Network, &*trial.what).next(next).took(ms(trial)),
        _ => Step::of(link, gate, trial),
    };
    let dns =
        "Compare the name with the one that the operator of the gate gave you, and ask for it in this network's DNS.";
    let tcp = "Ask whether the gate runs, and whether firewalls let this machine through to that port.";
    let tls = match look.tls.ok {
        Some(false) => of_distrust(gate, look, env),
        _ => Step::of(Link::Tls, gate, &look.tls),
    };
    vec![network(Link::Dns, &look.resolve, dns), network(Link::Tcp, &look.connect, tcp), tls]
}

fn of_distrust(gate: &str, look: &Look, env: &Env) -> Step {
    let now = env.clock.wall();
    // One that is not valid yet is refused by the same words of some drivers, and is the gate's to mend as well.
    let ended = look.shown.as_ref().is_some_and(|shown| shown.ends <= now || shown.starts > now);
    let (kind, why) = match look.tls.kind {
        Some(Kind::UpstreamTls) if ended => (Kind::CertificateExpired, Some(Refusal::Time)),
        Some(Kind::UpstreamTls) if look.tls.what.contains("another name") => (Kind::TlsDistrusted, Some(Refusal::Name)),
        Some(Kind::UpstreamTls) => (Kind::TlsDistrusted, Some(Refusal::Issuer)),
        _ => (Kind::TlsFailed, None),
    };
    let what = look.tls.what.replace("the account's host", "the one that the tool connects to");
    let step = Step::failed(Link::Tls, gate, kind, what).with(why.map(drivers::words).unwrap_or_default());
    let names = look.shown.as_ref().map(|shown| shown.names.join(", ")).unwrap_or_default();
    let step = match why {
        Some(Refusal::Name) if !names.is_empty() => {
            step.next(format!("Connect by a name that the certificate holds: {names}; or get one for this name too."))
        }
        Some(Refusal::Issuer) => step.next(
            "Add the root to the store that this tool reads (each driver has its own). To go on here, name the root \
             with \
             --ca FILE.",
        ),
        _ => step,
    };
    step.took(ms(&look.tls))
}

fn ms(trial: &Trial) -> Duration {
    Duration::from_millis(trial.ms)
}

/// A login, a statement, and the logout.
async fn log_in(gate: &str, state: &Arc<AccountState>, key: &Secret, within: Duration, env: &Env) -> Vec<Step> {
    let begun = env.clock.now();
    let id = || SessionId::new(&*env.random).map(|id| id.as_uuid()).unwrap_or_default();
    let Ok(client) = AccountClient::new(state, None) else { return Vec::new() };
    let (target, body) = (format!("{LOGIN}?requestId={}", id()), client_login(client.account_name(), key));
    let late = |_| Opened::Lost(Fault::new(Kind::GateBusy).with_cause("the gate has not answered the login in time"));
    let opened = timeout(within, client.open_session(&target, body.into())).await.unwrap_or_else(late);
    let failed = |step: Step| {
        vec![step.since(&*env.clock, begun), Step::unknown(Link::Select, gate, "not tried: there is no session")]
    };
    let session = match opened {
        Opened::Session(session) => session,
        Opened::Refused(mut refusal) => {
            refusal.without(key);
            return failed(of_refusal(gate, &refusal));
        }
        Opened::Unsent(fault) | Opened::Lost(fault) => {
            let what = format!("no answer to a login: {}", fault.cause());
            let next = "Is it a gate that listens there? Look into its log for this machine's address.";
            return failed(Step::bad(Link::ClientLogin, gate, Owner::Gate, what).next(next));
        }
    };
    let got: Vec<_> = session
        .places
        .iter()
        .map(|(place, got)| format!("{} {}", place.as_str(), got.as_deref().unwrap_or("none")))
        .collect();
    let login = Step::good(Link::ClientLogin, gate, format!("the session is open: {}", got.join(", ")));
    let mut steps = vec![login.since(&*env.clock, begun)];
    let begun = env.clock.now();
    let late = |_| Err(Fault::new(Kind::SnowflakeSilent).with_cause("no answer in time"));
    let answer = timeout(STATEMENT, session.query(&id(), statement::SELECT_1)).await.unwrap_or_else(late);
    let trial = Trial::of(&answer, env.clock.now().saturating_duration_since(begun), |_| "SELECT 1 is answered".into());
    steps.push(Step::of(Link::Select, gate, &trial));
    let _late = timeout(LOGOUT, session.log_out()).await;
    steps
}

/// A refusal: the gate's sentence says which kind it is; another is Snowflake's own, which the gate has passed on.
fn of_refusal(gate: &str, refusal: &Refused) -> Step {
    let said = refusal.said().text;
    match Kind::of_sentence(&said) {
        Some(kind) => Step::failed(Link::ClientLogin, gate, kind, said).next(kind.rule().client_step),
        None => Step::failed(Link::ClientLogin, gate, refusal.client_kind(), refusal.cause()),
    }
}
