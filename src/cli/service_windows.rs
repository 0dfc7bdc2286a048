//! `patgate service`: the gate as a service of Windows. Several gates are several services, by `--name`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::time::Instant;
use windows_service::define_windows_service;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceState,
    ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager as Manager, ServiceManagerAccess};

use super::manager::{ServiceManager, dispatch};
use super::shell::{CommandError, ConfigArgs, say, say_json};
use super::{Cli, Command, check, run};
use crate::base::fault::Owner;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::config::{Config, SecretSource, Store, file};
use crate::state::access_list::{Right, grant, restrict};
use crate::state::account::{Account, service_sid};
use crate::state::private::new_file;
use crate::stores::protected;
use crate::telemetry::event_log::{self, EventLog};
use crate::telemetry::service_log::{Event, OTHER, Severity};

/// Win32, system error codes.
const ACCESS_DENIED: i32 = 5;
const INVALID_LEVEL: i32 = 124;
const FAILED_SERVICE_CONTROLLER_CONNECT: i32 = 1063;
const SERVICE_DOES_NOT_EXIST: i32 = 1060;
const SERVICE_EXISTS: i32 = 1073;
/// After how long a service that failed starts again, at the first, the second and every later time.
const RESTARTS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];
/// After how long without a failure the next one is the first again.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// How long `start` and `stop` wait, beyond the drain.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often they look.
const LOOK: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Subcommand)]
pub(super) enum ServiceCommand {
    /// Make a service that starts with this machine, with an account of its own that may read what the configuration
    /// names. Needs an elevated prompt.
    Install(InstallArgs),
    /// Start it.
    Start(NameArgs),
    /// Stop it; requests that run may end within `listen.drain`.
    Stop(NameArgs),
    /// Show it.
    Status(NameArgs),
    /// Stop it and remove it; configuration and state stay.
    Uninstall(NameArgs),
    /// Encrypt a secret of the gate's own for this machine: reads it from stdin, for `dpapi:PATH` in the configuration.
    Protect(ProtectArgs),
    /// What the service manager runs.
    #[command(hide = true)]
    Run(RunArgs),
}

/// Which service.
#[derive(Args)]
pub(super) struct NameArgs {
    /// The service's name.
    #[arg(long, default_value = "patgate", value_parser = service_name)]
    name: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// A service to be.
#[derive(Args)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The service's name.
    #[arg(long, default_value = "patgate", value_parser = service_name)]
    name: String,
    /// Its account, one without a password: a managed service account, or LocalSystem [default: NT SERVICE\NAME].
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

/// A service that starts.
#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long, value_parser = service_name)]
    name: String,
}

/// Where the secret goes.
#[derive(Args)]
pub(super) struct ProtectArgs {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The service whose account may read it.
    #[arg(long, default_value = "patgate", value_parser = service_name)]
    name: String,
}

/// The command.
pub(super) fn service(command: &ServiceCommand) -> Result<(), CommandError> {
    match command {
        ServiceCommand::Install(args) => install(args),
        ServiceCommand::Start(args) => start(args),
        ServiceCommand::Stop(args) => stop(args),
        ServiceCommand::Status(args) => status(args),
        ServiceCommand::Uninstall(args) => uninstall(args),
        ServiceCommand::Protect(args) => protect(args),
        ServiceCommand::Run(args) => dispatch(&args.name, ffi_main).map_err(|error| match system_code(&error) {
            Some(FAILED_SERVICE_CONTROLLER_CONNECT) => CommandError::of(
                Owner::Client,
                "only the service manager runs this; in the foreground the gate runs with `patgate run`",
            ),
            _ => failed(&args.name, error),
        }),
    }
}

define_windows_service!(ffi_main, service_main);

/// The service. What the service manager passes are arguments of `sc start`; its own are those of the process.
fn service_main(_of_start: Vec<OsString>) {
    let Command::Service(ServiceCommand::Run(args)) = Cli::parse().command else { return };
    let Ok(mut manager) = ServiceManager::of_service(&args.name) else { return };
    let code = match run::under(&args.config, &mut manager) {
        Ok(()) => 0,
        Err(error) => {
            if let Ok(events) = EventLog::open(&args.name) {
                let text = format!("the gate did not start\n{}", error.text.trim_end());
                events.report(&Event { id: OTHER, severity: Severity::Error, text });
            }
            error.code
        }
    };
    manager.ended(code);
}

fn service_name(text: &str) -> Result<String, String> {
    match text.is_empty()
        || text.len() > 80
        || text.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
    {
        true => Err("a service's name has letters, digits, - _ and . only, 80 at most".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn install(args: &InstallArgs) -> Result<(), CommandError> {
    let path = std::path::absolute(args.config.file()?).map_err(CommandError::gate)?;
    let (config, _) = file::load(&path).map_err(CommandError::gate)?;
    let of_its_own = format!(r"NT SERVICE\{}", args.name);
    let account = args.account.as_deref().unwrap_or(&of_its_own);
    let sid = match account.eq_ignore_ascii_case(&of_its_own) {
        true => service_sid(&args.name),
        false => Account::named(account).map_err(|error| unknown_account(account, &error))?.sid,
    };
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE, &args.name)?;
    let program = std::env::current_exe().map_err(CommandError::gate)?;
    let launch = ["service", "run", "--name", &args.name, "--config"].map(OsString::from);
    let info = ServiceInfo {
        name: args.name.clone().into(),
        display_name: format!("patgate ({})", args.name).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: launch.into_iter().chain([path.clone().into()]).collect(),
        dependencies: Vec::new(),
        account_name: Some(account.into()),
        account_password: None,
    };
    let service =
        manager.create_service(&info, ServiceAccess::ALL_ACCESS).map_err(|error| failed(&args.name, error))?;
    let finished = settled(&service, &config).map_err(|error| failed(&args.name, error)).and_then(|()| {
        event_log::register(&args.name).map_err(CommandError::gate)?;
        allowed(&path, &config, &sid)
    });
    if let Err(error) = finished {
        // Half a service would start with less than it needs.
        let _gone = service.delete();
        return Err(error);
    }
    match args.config.json {
        true => say_json(&serde_json::json!({ "service": args.name, "account": account, "config": path })),
        false => say(&format!(
            "The service {name} is there; it starts with this machine, as {account}, with {}.\n\
             Start it now: patgate service start --name {name}",
            path.display(),
            name = args.name
        )),
    }
    Ok(())
}

/// What a service is beyond its first form.
fn settled(service: &Service, config: &Config) -> windows_service::Result<()> {
    service.set_description("Puts the current programmatic access token into the logins of BI tools to Snowflake")?;
    where_known(service.set_config_service_sid_info(ServiceSidType::Unrestricted))?;
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    where_known(service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    }))?;
    // A gate that cannot start says so and ends: that is a failure too.
    where_known(service.set_failure_actions_on_non_crash_failures(true))?;
    where_known(service.set_preshutdown_timeout(patience(config)))
}

/// A setting that the service manager may lack: every Windows has all of them, and Wine has not.
fn where_known(set: windows_service::Result<()>) -> windows_service::Result<()> {
    match set {
        Err(error) if system_code(&error) == Some(INVALID_LEVEL) => Ok(()),
        set => set,
    }
}

/// How long the gate may take to stop.
fn patience(config: &Config) -> Duration {
    config.listen.notice + config.listen.drain + Duration::from_secs(10)
}

/// Lets the account read what the configuration names, and keep state.
fn allowed(path: &Path, config: &Config, sid: &str) -> Result<(), CommandError> {
    let named = |path: &Path, error: io::Error| {
        CommandError::gate(format!("cannot set the access list of {}: {error}", path.display()))
    };
    let state = config.state.directory.as_ref().unwrap_or(&config.state.beside);
    std::fs::create_dir_all(state).and_then(|()| restrict(state, &[sid])).map_err(|error| named(state, error))?;
    // The file itself, which may inherit nothing, and its directory, since a new file may take its place. A drive's
    // root holds the files of others too.
    let own = check::sources(config).into_iter().filter_map(|(_, source)| match source {
        SecretSource::File(path) | SecretSource::Protected(path) => Some(path),
        SecretSource::Env(_) | SecretSource::Credential(_) => None,
    });
    for file in std::iter::once(path.to_owned()).chain(config.files()).chain(own) {
        let directory = file.parent().filter(|directory| directory.parent().is_some());
        for one in directory.into_iter().chain([&*file]).filter(|one| one.exists()) {
            grant(one, sid, Right::Read).map_err(|error| named(one, error))?;
        }
    }
    for store in config.stores.values() {
        if let Store::File(store) = store
            && store.path.is_dir()
        {
            // A rotation writes there.
            grant(&store.path, sid, Right::Write).map_err(|error| named(&store.path, error))?;
        }
    }
    Ok(())
}

fn start(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    service.start::<OsString>(&[]).map_err(|error| failed(&args.name, error))?;
    // RUNNING comes at once; what the configuration lacks shows a moment later.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let status = service.query_status().map_err(|error| failed(&args.name, error))?;
        if status.current_state == ServiceState::Stopped {
            return Err(ended(&args.name, &status));
        }
        std::thread::sleep(LOOK);
    }
    shown(args, &service)
}

fn stop(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    stopped(&service, &args.name)?;
    shown(args, &service)
}

/// Stops a service, if it runs, and waits until it has ended.
fn stopped(service: &Service, name: &str) -> Result<(), CommandError> {
    let query = || service.query_status().map_err(|error| failed(name, error));
    if query()?.current_state == ServiceState::Stopped {
        return Ok(());
    }
    let begun = Instant::now();
    let mut patience = service.stop().map_err(|error| failed(name, error))?.wait_hint + PATIENCE;
    loop {
        let status = query()?;
        if status.current_state == ServiceState::Stopped {
            return Ok(());
        }
        patience = patience.max(status.wait_hint + PATIENCE);
        if begun.elapsed() > patience {
            return Err(CommandError::gate(format!(
                "the service {name} has not stopped; its log says what it waits for"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

fn status(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG)?;
    shown(args, &service)?;
    let status = service.query_status().map_err(|error| failed(&args.name, error))?;
    match status.current_state {
        ServiceState::Running => Ok(()),
        _ => Err(CommandError::attention("")),
    }
}

/// Says what the service manager knows.
fn shown(args: &NameArgs, service: &Service) -> Result<(), CommandError> {
    let status = service.query_status().map_err(|error| failed(&args.name, error))?;
    let state = match status.current_state {
        ServiceState::Running => "running",
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending | ServiceState::ContinuePending => "starting",
        ServiceState::StopPending => "stopping",
        ServiceState::PausePending | ServiceState::Paused => "paused",
    };
    let code = exit_code(&status);
    let config = service.query_config().ok();
    let account = config.and_then(|config| config.account_name).map(|name| name.to_string_lossy().into_owned());
    match args.json {
        true => say_json(&serde_json::json!({
            "service": args.name, "state": state, "process": status.process_id, "exit_code": code, "account": account,
        })),
        false => {
            let process = status.process_id.map(|id| format!(", process {id}")).unwrap_or_default();
            let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let account = account.map(|name| format!(", as {name}")).unwrap_or_default();
            say(&format!("{}: {state}{process}{account}{code}", args.name));
        }
    }
    Ok(())
}

/// The exit code of one that ended by itself.
fn exit_code(status: &ServiceStatus) -> Option<u32> {
    let stopped = status.current_state == ServiceState::Stopped;
    match status.exit_code {
        ServiceExitCode::ServiceSpecific(code) if stopped => Some(code),
        // ERROR_SERVICE_NEVER_STARTED is the state of one that was not started yet.
        ServiceExitCode::Win32(code) if stopped && code != 0 && code != 1077 => Some(code),
        _ => None,
    }
}

fn ended(name: &str, status: &ServiceStatus) -> CommandError {
    let code = exit_code(status);
    let text = format!(
        "the service {name} ended{}. The Event Log says why (Application, source {name}); so does `patgate check`",
        code.map(|code| format!(" with exit code {code}")).unwrap_or_default()
    );
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Owner::Gate.exit_code());
    CommandError { code, text }
}

fn uninstall(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE)?;
    stopped(&service, &args.name)?;
    service.delete().map_err(|error| failed(&args.name, error))?;
    event_log::unregister(&args.name).map_err(CommandError::gate)?;
    match args.json {
        true => say_json(&serde_json::json!({ "service": args.name, "state": "gone" })),
        false => say(&format!("The service {} is gone; configuration and state stay.", args.name)),
    }
    Ok(())
}

fn protect(args: &ProtectArgs) -> Result<(), CommandError> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(CommandError::gate)?;
    let secret = Secret::new(bare(&text).to_owned());
    if secret.expose().is_empty() {
        return Err(CommandError::of(Owner::Client, "there is no secret on stdin"));
    }
    let named = |error: io::Error| CommandError::gate(format!("{}: {error}", args.out.display()));
    let file = protected(&secret).map_err(CommandError::gate)?;
    new_file(&args.out).and_then(|mut out| out.write_all(&file)).map_err(named)?;
    restrict(&args.out, &[&Account::own().map_err(named)?.sid, &service_sid(&args.name)]).map_err(named)?;
    say(&format!("Write it into the configuration as \"dpapi:{}\".", args.out.display()));
    Ok(())
}

fn manager(access: ServiceManagerAccess, name: &str) -> Result<Manager, CommandError> {
    Manager::local_computer(None::<&str>, access).map_err(|error| failed(name, error))
}

fn opened(args: &NameArgs, access: ServiceAccess) -> Result<Service, CommandError> {
    let manager = manager(ServiceManagerAccess::CONNECT, &args.name)?;
    manager.open_service(&args.name, access).map_err(|error| failed(&args.name, error))
}

fn system_code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn failed(name: &str, error: windows_service::Error) -> CommandError {
    match system_code(&error) {
        Some(ACCESS_DENIED) => CommandError::of(
            Owner::Policy,
            "only an administrator may do this: open PowerShell with \"Run as administrator\", and try again",
        ),
        Some(SERVICE_DOES_NOT_EXIST) => {
            CommandError::attention(format!("there is no service {name}; `patgate service install` makes one"))
        }
        Some(SERVICE_EXISTS) => CommandError::of(
            Owner::Client,
            format!("there is a service {name} already: choose another with --name, or `patgate service uninstall` it"),
        ),
        _ => CommandError::gate(crate::base::fault::chain(&error)),
    }
}

fn unknown_account(account: &str, error: &io::Error) -> CommandError {
    CommandError::of(Owner::Client, format!("this machine knows no account {account}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_plain() {
        assert!(["patgate", "patgate-finance", "Gate_2.x"].iter().all(|name| service_name(name).is_ok()));
        assert!(["", "a b", r"a\b", "a/b", "\"x", &"x".repeat(81)].iter().all(|name| service_name(name).is_err()));
    }
}
