//! `patgate service`: the gate as a service of Windows. Several gates are several services, by `--name`.

mod install;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::time::Instant;
use windows_service::define_windows_service;
use windows_service::service::{Service, ServiceAccess, ServiceExitCode, ServiceState, ServiceStatus};
use windows_service::service_manager::{ServiceManager as Manager, ServiceManagerAccess};

use super::manager::{ServiceManager, dispatch};
use super::shell::{CommandError, ConfigArgs, say, say_json};
use super::{Cli, Command, run};
use crate::base::fault::Owner;
use crate::base::secret::Secret;
use crate::base::text::bare;
use crate::state::access_list::restrict;
use crate::state::account::{Account, service_sid};
use crate::state::private::{fresh_file, new_file};
use crate::stores::protected;
use crate::telemetry::event_log::{self, EventLog};
use crate::telemetry::service_log::{Event, OTHER, Severity};
use install::{InstallArgs, install};

/// Win32, system error codes.
const ACCESS_DENIED: i32 = 5;
const FAILED_SERVICE_CONTROLLER_CONNECT: i32 = 1063;
const SERVICE_DOES_NOT_EXIST: i32 = 1060;
const SERVICE_EXISTS: i32 = 1073;
const SERVICE_ALREADY_RUNNING: i32 = 1056;
const SERVICE_CANNOT_ACCEPT_CTRL: i32 = 1061;
const SERVICE_LOGON_FAILED: i32 = 1069;
const SERVICE_MARKED_FOR_DELETE: i32 = 1072;
const SERVICE_NEVER_STARTED: u32 = 1077;
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
    /// Put the secret in the place of the one that the file has; whoever may read the file still may.
    #[arg(long)]
    replace: bool,
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

fn start(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    match service.start::<OsString>(&[]) {
        Err(error) if system_code(&error) == Some(SERVICE_ALREADY_RUNNING) => return shown(args, &service).map(drop),
        started => started.map_err(|error| failed(&args.name, error))?,
    }
    // RUNNING comes at once; what the configuration lacks shows a moment later.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let status = service.query_status().map_err(|error| failed(&args.name, error))?;
        if status.current_state == ServiceState::Stopped {
            return Err(ended(&args.name, &status));
        }
        std::thread::sleep(LOOK);
    }
    shown(args, &service).map(drop)
}

fn stop(args: &NameArgs) -> Result<(), CommandError> {
    let service = opened(args, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    stopped(&service, &args.name)?;
    shown(args, &service).map(drop)
}

/// Stops a service, if it runs, and waits until it has ended.
fn stopped(service: &Service, name: &str) -> Result<(), CommandError> {
    let query = || service.query_status().map_err(|error| failed(name, error));
    if query()?.current_state == ServiceState::Stopped {
        return Ok(());
    }
    let begun = Instant::now();
    let mut patience = match service.stop() {
        // It is stopping already.
        Err(error) if system_code(&error) == Some(SERVICE_CANNOT_ACCEPT_CTRL) => PATIENCE,
        asked => asked.map_err(|error| failed(name, error))?.wait_hint + PATIENCE,
    };
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
    match shown(args, &service)? {
        ServiceState::Running => Ok(()),
        _ => Err(CommandError::attention("")),
    }
}

/// Says what the service manager knows; the state.
fn shown(args: &NameArgs, service: &Service) -> Result<ServiceState, CommandError> {
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
    Ok(status.current_state)
}

/// The exit code of one that ended by itself.
fn exit_code(status: &ServiceStatus) -> Option<u32> {
    let stopped = status.current_state == ServiceState::Stopped;
    match status.exit_code {
        ServiceExitCode::ServiceSpecific(code) if stopped => Some(code),
        ServiceExitCode::Win32(code) if stopped && code != 0 && code != SERVICE_NEVER_STARTED => Some(code),
        _ => None,
    }
}

fn ended(name: &str, status: &ServiceStatus) -> CommandError {
    let code = exit_code(status);
    let text = format!(
        "the service {name} ended{}. The Event Log says why (Application, source {name}); `patgate check` and `patgate \
         doctor` look at its configuration and its ports, with --config FILE if it is not the usual one",
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
    let named = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => CommandError::of(
            Owner::Client,
            format!("{} is there already: name another file, or say --replace", args.out.display()),
        ),
        _ => CommandError::gate(format!("{}: {error}", args.out.display())),
    };
    let file = protected(&secret).map_err(CommandError::gate)?;
    let written = || -> io::Result<PathBuf> {
        let is_new = !args.replace || !args.out.exists();
        let mut out = if is_new { fresh_file(&args.out)? } else { new_file(&args.out)? };
        if is_new {
            restrict(&args.out, &[&Account::own()?.sid, &service_sid(&args.name)])?;
        }
        out.write_all(&file)?;
        std::path::absolute(&args.out)
    };
    // In single quotes TOML leaves a backslash alone.
    say(&format!("Write it into the configuration as 'dpapi:{}'.", written().map_err(named)?.display()));
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
            let text = format!("there is no service {name}; `patgate service install --name {name}` makes one");
            CommandError::attention(text)
        }
        Some(SERVICE_MARKED_FOR_DELETE) => CommandError::gate(format!(
            "the service {name} is being removed: close services.msc and whatever else has it open, and try again"
        )),
        Some(SERVICE_LOGON_FAILED) => CommandError::gate(format!(
            "the account of the service {name} may not log on as a service: give it that right (secpol.msc, Local \
             Policies, User Rights Assignment)"
        )),
        Some(SERVICE_EXISTS) => CommandError::of(
            Owner::Client,
            format!("there is a service {name} already: choose another with --name, or `patgate service uninstall` it"),
        ),
        _ => CommandError::gate(crate::base::fault::chain(&error)),
    }
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
