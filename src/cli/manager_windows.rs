//! The service manager, on Windows: it starts `patgate service run`, and its controls arrive as events.
//!
//! The process says RUNNING before it reads anything: a store that is away must not make the start time out. What fails
//! then ends the service with an exit code of its own, so that the recovery actions of `service install` apply.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};

use super::signal::SystemEvent;
use crate::config::Config;
use crate::state::StateDir;
use crate::state::place::StatePlace;
use crate::telemetry::event_log::EventLog;
use crate::telemetry::logs::Output;
use crate::telemetry::service_log::{Event, OTHER, ServiceLog, Severity};

/// The directory of the log, in the state directory.
const LOG: &str = "log";
/// For how many days log files are kept.
const DAYS: usize = 14;

/// The controls of the service manager. The crate frees the handler at the first stop, and Windows may call it once
/// more (INTERROGATE): one that holds nothing has nothing to free, so what it sends to stands here.
static CONTROLS: OnceLock<UnboundedSender<SystemEvent>> = OnceLock::new();

/// The notifications to the service manager.
pub(super) enum Phase {
    /// The gate serves.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It stops, and may take so long.
    Stopping(Duration),
    /// It is still at work.
    Alive,
}

/// The service manager of this process; without one, nothing that is said here goes anywhere.
pub(super) struct ServiceManager(Option<Service>);

struct Service {
    name: String,
    status: ServiceStatusHandle,
    controls: UnboundedReceiver<SystemEvent>,
}

impl ServiceManager {
    /// None: the process was started in the foreground.
    pub(super) fn of_this_process() -> Self {
        Self(None)
    }

    /// That of a service, which it says to be running.
    ///
    /// # Errors
    /// The operating system's error.
    pub(super) fn of_service(name: &str) -> windows_service::Result<Self> {
        let (send, controls) = unbounded_channel();
        let _once = CONTROLS.set(send);
        let status = service_control_handler::register(name, handle)?;
        let service = Service { name: name.to_owned(), status, controls };
        service.say(ServiceState::Running, Duration::ZERO, ServiceExitCode::NO_ERROR);
        Ok(Self(Some(service)))
    }

    /// Where the log goes: a service has no stderr that anybody reads. Without a file the Event Log has what it takes.
    ///
    /// # Errors
    /// If the Event Log cannot be opened.
    pub(super) fn log(&self, config: &Config) -> io::Result<Output> {
        let Some(service) = &self.0 else { return Ok(Output::Stderr) };
        let events = EventLog::open(&service.name)?;
        let files: Box<dyn Write + Send> = match files(config) {
            Ok(files) => Box::new(files),
            Err(error) => {
                let text = format!("the log cannot be written to a file: {error}");
                events.report(&Event { id: OTHER, severity: Severity::Warning, text });
                Box::new(io::sink())
            }
        };
        Ok(Output::Lines(Box::new(ServiceLog::new(files, move |event: &_| events.report(event)))))
    }

    /// It does not ask.
    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    /// None.
    ///
    /// # Errors
    /// Never.
    pub(super) fn sockets() -> io::Result<[Option<TcpListener>; 2]> {
        Ok([None, None])
    }

    /// What it wants of the gate.
    pub(super) async fn next(&mut self) -> SystemEvent {
        match &mut self.0 {
            // The sender lives as long as the process.
            Some(service) => match service.controls.recv().await {
                Some(event) => event,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Notifies the service manager, if there is one.
    pub(super) fn tell(&self, phase: &Phase) {
        if let (Some(service), Phase::Stopping(patience)) = (&self.0, phase) {
            service.say(ServiceState::StopPending, *patience, ServiceExitCode::NO_ERROR);
        }
    }

    /// Says that the service has ended, and why: an exit code of the command line, 0 where it was stopped.
    pub(super) fn ended(&self, code: u8) {
        let code = if code == 0 { ServiceExitCode::NO_ERROR } else { ServiceExitCode::ServiceSpecific(code.into()) };
        if let Some(service) = &self.0 {
            service.say(ServiceState::Stopped, Duration::ZERO, code);
        }
    }
}

/// A file a day, in the state directory.
fn files(config: &Config) -> io::Result<RollingFileAppender> {
    let state = StateDir::open(&StatePlace::of(config.state.directory.as_deref(), &config.state.beside).path)?;
    let files = RollingFileAppender::builder().rotation(Rotation::DAILY).max_log_files(DAYS);
    let files = files.filename_prefix("patgate").filename_suffix("log").build(state.path().join(LOG));
    files.map_err(io::Error::other)
}

impl Service {
    fn say(&self, state: ServiceState, patience: Duration, code: ServiceExitCode) {
        let takes = ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN | ServiceControlAccept::PARAM_CHANGE;
        let running = state == ServiceState::Running;
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: if running { takes } else { ServiceControlAccept::empty() },
            exit_code: code,
            checkpoint: u32::from(state == ServiceState::StopPending),
            wait_hint: patience,
            process_id: None,
        };
        if let Err(error) = self.status.set_service_status(status) {
            tracing::warn!(cause = %error, "cannot notify the service manager");
        }
    }
}

/// Takes a control; holds nothing, see [`CONTROLS`].
fn handle(control: ServiceControl) -> ServiceControlHandlerResult {
    let event = match control {
        ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
        ServiceControl::Stop => SystemEvent::Stop("the service manager"),
        ServiceControl::Preshutdown => SystemEvent::Stop("the shutdown of this machine"),
        ServiceControl::ParamChange => SystemEvent::Reload("the service manager"),
        _ => return ServiceControlHandlerResult::NotImplemented,
    };
    if let Some(controls) = CONTROLS.get() {
        // Without a receiver the gate has ended.
        let _ended = controls.send(event);
    }
    ServiceControlHandlerResult::NoError
}

/// Runs a service in this process, until it has ended.
///
/// # Errors
/// The operating system's error, also if the process was not started by the service manager.
pub(super) fn dispatch(name: &str, main: extern "system" fn(u32, *mut *mut u16)) -> windows_service::Result<()> {
    windows_service::service_dispatcher::start(OsString::from(name), main)
}
