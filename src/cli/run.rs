//! `patgate run`: the gate in the foreground, until a signal stops it.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use super::manager::{Phase, ServiceManager};
use super::shell::{CommandError, ConfigArgs, control_runtime};
use super::signal::{Signals, SystemEvent};
use crate::app::{App, Listeners, Seen};
use crate::base::clock::{Env, Random, SystemRandom};
use crate::config::report::Report;
use crate::config::{Config, file};
use crate::telemetry::logs::{self, LogControl};

/// The command.
pub(super) fn run(args: &ConfigArgs) -> Result<(), CommandError> {
    under(args, &mut ServiceManager::of_this_process()).map_err(CommandError::into_log_line)
}

/// The same under a service manager, which may stop the gate too.
///
/// # Errors
/// If the gate does not start.
pub(super) fn under(args: &ConfigArgs, manager: &mut ServiceManager) -> Result<(), CommandError> {
    // The first random number of a process takes tens of milliseconds; draw it while another thread reads the file.
    let warm = std::thread::spawn(|| SystemRandom.fill(&mut [0; 16]));
    // The configuration names the files to watch. Take their content before reading the configuration, so that the gate
    // misses no change between the two.
    let file = args.file()?;
    let seen = Seen::now(&file, &load(&file)?.0);
    let (config, report) = load(&file)?;
    // Dropped last: it writes what is left of the log.
    let output = manager.log(&config).map_err(CommandError::gate)?;
    let (_flush, log) = logs::start(&config.log, output).map_err(CommandError::gate)?;
    for (line, column, problem) in report.problems() {
        tracing::warn!(
            at = format!("{}:{line}:{column}", report.file()),
            key = problem.key,
            what = problem.what,
            remedy = problem.remedy,
            "configuration"
        );
    }
    if config.listen.tls.is_none() {
        tracing::warn!(
            address = %config.listen.address,
            "danger_plaintext: client keys and data are readable on this loopback address"
        );
    }
    let _warmed = warm.join();
    let runtime = control_runtime()?;
    let outcome = runtime.block_on(serve(config, file, seen, log, manager));
    // A file read that hangs must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    config: Config,
    file: PathBuf,
    seen: Seen,
    log: LogControl,
    manager: &mut ServiceManager,
) -> Result<(), CommandError> {
    // Before anything slow, so that no signal is lost meanwhile.
    let mut signals = Signals::new().map_err(CommandError::gate)?;
    let sockets = ServiceManager::sockets().map_err(CommandError::gate)?;
    let listeners = Listeners::given_or_bound(&config, sockets).map_err(CommandError::gate)?;
    let app = App::start_on(listeners, config, Env::default(), log).await.map_err(CommandError::gate)?;
    app.follow(file, seen);
    let health = app.health.map(tracing::field::display);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(address = %app.address, admin = %app.admin, health, version, "listening");
    app.settled().await;
    manager.tell(&Phase::Ready);
    let mut watchdog = ServiceManager::watchdog().map(tokio::time::interval);
    // A file on a network may hang: signals and the watchdog do not wait for it.
    let mut reload: Option<Pin<Box<dyn Future<Output = ()> + '_>>> = None;
    let signal = loop {
        let event = tokio::select! {
            event = signals.next() => event,
            event = manager.next() => event,
            () = app.drained() => break "the operator's command",
            () = ended(&mut reload) => {
                manager.tell(&Phase::Ready);
                continue;
            }
            () = due(&mut watchdog) => {
                // The service manager ends a gate that says nothing, and starts it again.
                if app.is_alive() {
                    manager.tell(&Phase::Alive);
                }
                continue;
            }
        };
        match event {
            SystemEvent::Stop(signal) => break signal,
            SystemEvent::Reload(signal) => {
                manager.tell(&Phase::Reloading);
                let before = reload.take();
                let app = &app;
                reload = Some(Box::pin(async move {
                    if let Some(before) = before {
                        before.await;
                    }
                    app.read_again(signal).await;
                }));
            }
        }
    };
    drop(reload);
    manager.tell(&Phase::Stopping(app.patience()));
    tracing::info!(signal, "draining; a second signal stops the gate at once");
    let clean = tokio::select! {
        clean = app.stop() => clean,
        () = signals.stop() => false,
    };
    tracing::info!(clean, "stopped");
    Ok(())
}

/// The end of the reload that runs; never without one.
async fn ended(reload: &mut Option<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    match reload {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
    *reload = None;
}

/// The next time that the watchdog wants to hear something; never without one.
async fn due(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

fn load(file: &Path) -> Result<(Config, Report), CommandError> {
    file::load(file).map_err(CommandError::gate)
}
