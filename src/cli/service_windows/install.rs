//! `patgate service install`: a service, its account, its recovery, and what the account may read.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceType,
};
use windows_service::service_manager::ServiceManagerAccess;

use super::{failed, manager, service_name, system_code};
use crate::app::{operator_keys, patience};
use crate::base::fault::Owner;
use crate::cli::check;
use crate::cli::shell::{CommandError, ConfigArgs, say, say_json};
use crate::config::{Config, Store, file};
use crate::state::access_list::{Right, give_to_administrators, grant, strangers};
use crate::state::account::{Account, service_sid};
use crate::state::gate_accounts::RUNS;
use crate::state::place::StatePlace;
use crate::state::private::private_directory;
use crate::telemetry::event_log;

/// ERROR_INVALID_LEVEL (Win32, system error codes).
const INVALID_LEVEL: i32 = 124;
/// After how long a service that failed starts again, at the first, the second and every later time.
const RESTARTS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];
/// After how long without a failure the next one is the first again.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// What the process itself needs at its end, beside what the gate may take.
const MOMENT: Duration = Duration::from_secs(5);

/// A service to be.
#[derive(Args)]
pub(in crate::cli) struct InstallArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The service's name.
    #[arg(long, default_value = "patgate", value_parser = service_name)]
    name: String,
    /// Its account, one without a password: a managed service account, or LocalSystem [default: NT SERVICE\NAME].
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

/// The command.
pub(super) fn install(args: &InstallArgs) -> Result<(), CommandError> {
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
    let others = strangers(&program).unwrap_or_default();
    let exposed = others.iter().find(|one| one.writes).map(|one| {
        format!(
            "\nMind: {} may replace {}, and so the service: put the program below C:\\Program Files first.",
            one.account.shown(),
            program.display()
        )
    });
    let [verb, what] = RUNS;
    let launch = [verb, what, "--name", &args.name, "--config"].map(OsString::from);
    let info = ServiceInfo {
        name: args.name.clone().into(),
        display_name: format!("patgate ({})", args.name).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.clone(),
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
            "The service {name} is there; it starts with this machine, as {account}, with {path}.\n\
             Start it now: patgate service start --name {name}\n\
             Then ask whether it serves: patgate health --ready --config \"{path}\"{exposed}",
            name = args.name,
            path = path.display(),
            exposed = exposed.unwrap_or_default()
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
    where_known(service.set_preshutdown_timeout(patience(config) + MOMENT))
}

/// A setting that the service manager may lack: every Windows has all of them, and Wine has not.
fn where_known(set: windows_service::Result<()>) -> windows_service::Result<()> {
    match set {
        Err(error) if system_code(&error) == Some(INVALID_LEVEL) => Ok(()),
        set => set,
    }
}

/// Lets the account read what the configuration names, and keep state.
fn allowed(path: &Path, config: &Config, sid: &str) -> Result<(), CommandError> {
    let named = |path: &Path, error: io::Error| {
        CommandError::gate(format!("cannot set the access list of {}: {error}", path.display()))
    };
    let state = StatePlace::of(config.state.directory.as_deref(), &config.state.beside).path;
    // Another gate may share the state, and every gate writes its operator's key.
    for directory in operator_keys().into_iter().chain([state]) {
        private_directory(&directory, &[sid])
            .and_then(|()| give_to_administrators(&directory))
            .and_then(|()| grant(&directory, sid, Right::Write))
            .map_err(|error| named(&directory, error))?;
    }
    // Of the configuration also the directory, unless it is a drive's root: the certificate is often below, and a new
    // file takes the place of an old one there. What is elsewhere stands among the files of others.
    let own_directory = path.parent().filter(|directory| directory.parent().is_some());
    if let Some(directory) = own_directory {
        grant(directory, sid, Right::Read).map_err(|error| named(directory, error))?;
    }
    let own = check::sources(config).into_iter().filter_map(|(_, source)| source.path().map(Path::to_owned));
    for file in std::iter::once(path.to_owned()).chain(config.files()).chain(own) {
        if file.exists() {
            grant(&file, sid, Right::Read).map_err(|error| named(&file, error))?;
        }
    }
    for store in config.stores.values() {
        if let Store::File(store) = store
            && store.path.is_dir()
        {
            // A rotation writes there. A file may have a list of its own.
            let files = std::fs::read_dir(&store.path).map_err(|error| named(&store.path, error))?;
            let files = files.filter_map(Result::ok).map(|entry| entry.path()).filter(|one| one.is_file());
            for one in std::iter::once(store.path.clone()).chain(files) {
                grant(&one, sid, Right::Write).map_err(|error| named(&one, error))?;
            }
        }
    }
    Ok(())
}

fn unknown_account(account: &str, error: &io::Error) -> CommandError {
    CommandError::of(Owner::Client, format!("this machine knows no account {account}: {error}"))
}
