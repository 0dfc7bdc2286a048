//! `patgate sql setup CREDENTIAL` and `patgate sql check CREDENTIAL`: what has to stand in Snowflake, with the names of
//! the configuration. Nothing is sent to Snowflake: an administrator reads it and runs it there.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::statements::{Login, RotatorLogin, RotatorUser, Setup, Uses};
use crate::app::resolver;
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::base::names::LoginRefs;
use crate::base::pins::Pin;
use crate::cli::shell::{CommandError, ConfigArgs, control_runtime, say};
use crate::config::{Config, Credential, file};
use crate::snowflake::login_secret::LoginSecret;
use crate::telemetry::metrics::Metrics;

const DAY: u64 = 86_400;

/// Which credential.
#[derive(Args, Clone)]
pub(in crate::cli) struct SetupArgs {
    /// The credential.
    credential: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// An address or network that Snowflake sees a gate at; once for each.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    egress: Vec<IpNet>,
    /// The role of its sessions; only where the configuration names none.
    #[arg(long)]
    role: Option<String>,
    /// How long a token lives, where `rotation.lifetime` does not say it: 90 days, or 180.
    #[arg(long, value_enum, default_value_t = Preset::Production)]
    preset: Preset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    Production,
    Development,
}

/// Prints the statements.
pub(super) fn setup(args: &SetupArgs) -> Result<(), CommandError> {
    with_setup(args, None, |setup| told(args, "statements", &setup.statements()))
}

/// Prints the queries. They show the role, so that none has to be named.
pub(super) fn check(args: &SetupArgs) -> Result<(), CommandError> {
    with_setup(args, Some("<ROLE>"), |setup| told(args, "queries", &setup.checks()))
}

fn told(args: &SetupArgs, what: &str, sql: &str) {
    match args.config.json {
        true => say(&serde_json::json!({ "credential": args.credential, what: sql.trim_end() }).to_string()),
        false => say(sql.trim_end()),
    }
}

/// `any` stands for the role where neither the file nor the command line names one.
fn with_setup(args: &SetupArgs, any: Option<&str>, then: impl FnOnce(&Setup<'_>)) -> Result<(), CommandError> {
    let (config, _) = file::load(&args.config.file()?).map_err(CommandError::gate)?;
    let Some((name, credential)) = config.credentials.get_key_value(&*args.credential) else {
        let known = config.credentials.keys().map(|name| &**name);
        return Err(CommandError::unknown("credential", &args.credential, known));
    };
    let role = role(args, credential, any)?;
    let rotation = credential.rotation.as_ref();
    let own_key = match &credential.login {
        LoginRefs::KeyPair(..) => public_key(&config, &credential.login),
        LoginRefs::Pat(_) => None,
    };
    let rotator = rotation.and_then(|rotation| config.rotators.get(&rotation.rotator));
    let rotator_key = rotator.and_then(|rotator| public_key(&config, &rotator.login));
    let token =
        rotation.map_or_else(|| format!("{}_PAT", name.to_uppercase().replace('-', "_")), |one| one.token.clone());
    let days = match (rotation.and_then(|rotation| rotation.lifetime), args.preset) {
        (Some(lifetime), _) => lifetime.as_secs() / DAY,
        (None, Preset::Production) => 90,
        (None, Preset::Development) => 180,
    };
    let fixed = |pin: &'_ Pin| if let Pin::Fixed(value) = pin { Some(value.clone()) } else { None };
    let places = [&credential.pins.warehouse, &credential.pins.database, &credential.pins.schema].map(fixed);
    let [warehouse, database, schema] = places.each_ref().map(|place: &Option<Arc<str>>| place.as_deref());
    then(&Setup {
        user: &credential.user,
        role: &role,
        uses: Uses { warehouse, database, schema },
        egress: &args.egress,
        login: match &credential.login {
            LoginRefs::Pat(_) => Login::Pat { token: &token, days },
            LoginRefs::KeyPair(..) => Login::KeyPair(own_key.as_deref()),
        },
        rotator: rotator.map(|rotator| RotatorUser {
            user: &rotator.user,
            login: match &rotator.login {
                LoginRefs::Pat(_) => RotatorLogin::Pat(days),
                LoginRefs::KeyPair(..) => RotatorLogin::KeyPair(rotator_key.as_deref()),
            },
        }),
    });
    Ok(())
}

/// The role of the sessions: the configuration's, else the command's.
fn role(args: &SetupArgs, credential: &Credential, any: Option<&str>) -> Result<String, CommandError> {
    let pinned = match &credential.pins.role {
        Pin::Fixed(role) => Some(role.to_string()),
        Pin::OneOf(roles) => roles.first().cloned(),
        Pin::Free => credential.rotation.as_ref().and_then(|rotation| rotation.role.clone()),
    };
    match (pinned, &args.role) {
        (Some(pinned), Some(named)) if !pinned.eq_ignore_ascii_case(named) => Err(CommandError::of(
            Owner::Client,
            format!("the configuration has the role {pinned} for this credential; a token is restricted to one role"),
        )),
        (Some(pinned), _) => Ok(pinned),
        (None, Some(named)) => Ok(named.clone()),
        (None, None) => any.map(str::to_owned).ok_or_else(|| {
            CommandError::of(
                Owner::Client,
                "name the role of its sessions with --role ROLE: a service user's token is restricted to one role",
            )
        }),
    }
}

/// The public half of a key pair, if its store can be read from here.
fn public_key(config: &Config, login: &LoginRefs) -> Option<String> {
    let clock = Env::default().clock;
    let resolver = resolver(config, &clock, &Arc::<Metrics>::default()).ok()?;
    let reference = login.secret().iter().next()?;
    let read = control_runtime().ok()?.block_on(resolver.read(login, reference)).ok()?;
    match &read.secret {
        LoginSecret::KeyPair(key) => Some(key.public_pem_body()),
        LoginSecret::Pat(_) => None,
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => {
            text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| "write 203.0.113.7 or 203.0.113.0/28")?
        }
    };
    match network {
        IpNet::V4(_) => Ok(network),
        IpNet::V6(_) => Err("Snowflake's network rules of the type IPV4 take IPv4 alone".to_owned()),
    }
}
