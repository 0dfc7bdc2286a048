//! The command line: commands, and their exit codes. Each command is one small file.

mod admin_client;
mod adopt;
mod audit;
mod cert;
mod check;
mod client;
mod config;
mod console;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod explain;
#[cfg_attr(unix, path = "hardening_unix.rs")]
#[cfg_attr(windows, path = "hardening_windows.rs")]
mod hardening;
mod health;
mod init;
mod log;
mod logins;
#[cfg_attr(unix, path = "manager_unix.rs")]
#[cfg_attr(windows, path = "manager_windows.rs")]
mod manager;
mod pages;
mod pat;
mod place;
mod proxy;
mod reload;
mod run;
#[cfg(windows)]
#[path = "service_windows/mod.rs"]
mod service;
mod sessions;
mod shell;
#[cfg_attr(unix, path = "signal_unix.rs")]
#[cfg_attr(windows, path = "signal_windows.rs")]
mod signal;
mod sql;
mod state_place;
mod status;
#[cfg_attr(unix, path = "usual_unix.rs")]
#[cfg_attr(windows, path = "usual_windows.rs")]
mod usual;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use shell::{ConfigArgs, EXIT_CODES, GateArgs};

/// A TLS gate between BI tools and Snowflake that puts the current programmatic access token into every login.
#[derive(Parser)]
#[command(name = "patgate", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gate until SIGTERM or Ctrl-C.
    Run(ConfigArgs),
    /// Run the gate as a service of this machine.
    #[cfg(windows)]
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Check the configuration, and the files that it names; with `--online` also stores and accounts.
    Check(check::CheckArgs),
    /// Look at the whole chain, step by step, up to a statement at Snowflake; with `--client` from a tool's machine.
    Doctor(doctor::DoctorArgs),
    /// Make a running gate read its configuration again; after an error it keeps the old one.
    Reload(GateArgs),
    /// Show a running gate on one screen: certificates, PATs, stores, accounts, sessions, failures.
    Status(GateArgs),
    /// Ask whether a running gate lives, or with `--ready` whether it serves logins: for the probes of containers.
    Health(health::HealthArgs),
    /// Show and manage the PATs of a running gate.
    #[command(subcommand)]
    Pat(pat::PatCommand),
    /// List and end the sessions of a running gate.
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Print the address of a running gate's console, for a browser.
    Console(GateArgs),
    /// Show or change what a running gate writes to its log.
    Log(log::LogArgs),
    /// Tell what happened to a request, and what to do: by the trace id that the tool shows, a code, or a text.
    Explain(explain::ExplainArgs),
    /// Print statements for Snowflake.
    #[command(subcommand)]
    Sql(sql::SqlCommand),
    /// Prove the audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Set a gate up: asks for account, service user, store and client, proves each, and logs in through the new gate.
    Init(init::InitArgs),
    /// Find logins to Snowflake in files of BI tools and drivers, and move them to the gate.
    Adopt(adopt::AdoptArgs),
    /// Make a CA of your own and the gate's certificate.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Manage clients and their keys, and set up their tools.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// What tools need that enter the gate as their proxy.
    #[command(subcommand)]
    Proxy(proxy::ProxyCommand),
    /// Print the keys of the configuration: a schema for editors, a reference for people.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the completions of a shell.
    Completions(pages::CompletionsArgs),
    /// Print the manual, as man(1) reads it.
    Man(pages::ManArgs),
    /// Show patgate at work on this machine, with a built-in stand-in for Snowflake.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    // Before anything is read: a secret may be next.
    hardening::forbid_dumps();
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        #[cfg(windows)]
        Command::Service(command) => service::service(&command),
        Command::Check(args) => check::check(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Status(args) => status::status(&args),
        Command::Health(args) => health::health(&args),
        Command::Pat(command) => pat::pat(&command),
        Command::Sessions(command) => sessions::sessions(&command),
        Command::Console(args) => console::console(&args),
        Command::Log(args) => log::log(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Sql(command) => sql::sql(&command),
        Command::Audit(command) => audit::audit(&command),
        Command::Init(args) => init::init(&args),
        Command::Adopt(args) => adopt::adopt(&args),
        Command::Cert(command) => cert::cert(&command),
        Command::Client(command) => client::client(&command),
        Command::Proxy(command) => proxy::proxy(&command),
        Command::Config(command) => {
            config::config(&command);
            Ok(())
        }
        Command::Completions(args) => pages::completions(&args, Cli::command()),
        Command::Man(args) => pages::man(&args, Cli::command()),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            #[expect(clippy::print_stderr, reason = "the command line's own last word")]
            if !failed.text.is_empty() {
                eprintln!("{}", failed.text.trim_end());
            }
            ExitCode::from(failed.code)
        }
    }
}
