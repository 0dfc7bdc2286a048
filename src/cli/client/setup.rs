//! `patgate client setup CLIENT --for TOOL`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::endpoint::Endpoint;
use super::guide::{Guide, Tool};
use super::render;
use crate::app::{Verb, WayIn};
use crate::base::fault::Owner;
use crate::cli::admin_client::{self, NoAnswer, encoded};
use crate::cli::shell::{CommandError, GateArgs, say};
use crate::config::file;
use crate::state::private::new_file;

/// How long the running gate may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which client, and which tool.
#[derive(Args)]
pub(in crate::cli) struct SetupArgs {
    /// The client.
    client: String,
    /// The tool.
    #[arg(long = "for", value_enum)]
    tool: Tool,
    #[command(flatten)]
    gate: GateArgs,
    /// Where the roots of the gate's certificate lie on the tool's machine, if that machine does not trust them.
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Write the tool's files into this directory; what is there stays.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// The command.
pub(super) fn setup(args: &SetupArgs) -> Result<(), CommandError> {
    let (way, by) = way(&args.gate, &args.client)?;
    let (end, guide) = guide(way, args.tool, args.ca.as_deref());
    match args.gate.json {
        true => say(&render::json(&guide, args.tool).to_string()),
        false => {
            let roots = match end.ca {
                Some(_) => "",
                None => "\nA machine that does not trust the gate's certificate by itself needs more: add --ca FILE.",
            };
            say(&format!("{}\n{by}{roots}", render::text(&guide, &end).trim_end()));
        }
    }
    match &args.write {
        Some(directory) => write(&guide, directory),
        None => Ok(()),
    }
}

/// Prints the set-up of a tool.
pub(in crate::cli) fn show(file: &Path, client: &str, tool: Tool, ca: &str) -> Result<(), CommandError> {
    let (end, guide) = guide(in_file(file, client)?, tool, Some(ca));
    say(render::text(&guide, &end).trim_end());
    Ok(())
}

/// The way in of a client, from the running gate, else from the file; and a line that says from where.
fn way(args: &GateArgs, client: &str) -> Result<(WayIn, &'static str), CommandError> {
    let asked = admin_client::ask_within(PATIENCE, args, Verb::WayIn, &format!("?client={}", encoded(client)));
    match asked {
        Ok((_, way)) => Ok((way, "As the running gate has it.")),
        // A gate that was named has the last word, but for one that does not run and whose file is there.
        Err(NoAnswer::NotAsked(_)) if args.file().is_ok_and(|file| args.admin.is_none() || args.is_of(&file)) => {
            Ok((in_file(&args.file()?, client)?, "As the file has it; no gate answers at its admin address."))
        }
        Err(why) if args.admin.is_some() => Err(why.into()),
        Err(NoAnswer::NoFile(why) | NoAnswer::NotAsked(why)) => Err(why),
        Err(NoAnswer::Refused(..) | NoAnswer::Failed(..)) => Ok((
            in_file(&args.file()?, client)?,
            "As the file has it; the running gate did not tell. If it does not have the client yet: patgate reload.",
        )),
    }
}

fn in_file(file: &Path, client: &str) -> Result<WayIn, CommandError> {
    let (config, _) = file::load(file).map_err(CommandError::gate)?;
    let known = config.clients.keys().map(|name| name.as_str());
    WayIn::of(&config, &[], client).ok_or_else(|| CommandError::unknown("client", client, known))
}

/// The guide of a tool for a way in; `ca` is where the gate's roots lie on the tool's machine.
fn guide(way: WayIn, tool: Tool, ca: Option<&str>) -> (Endpoint, Guide) {
    // As it is typed: it is the path on the tool's machine, which may be another one.
    let end = Endpoint { ca: ca.map(str::to_owned), ..way.into() };
    let mut guide = tool.guide(&end);
    if let Some(proxy) = &end.way.proxy {
        guide.fields.push(("Proxy (or HTTPS_PROXY)", proxy.clone()));
        guide.environment.insert("HTTPS_PROXY", proxy.clone());
        guide.minds.push(
            "The tool keeps the account as its server, and the gate is its proxy: deploy/guides/proxy.md has each \
             driver's setting, and which roots it must trust.",
        );
    }
    if end.way.keyless {
        guide.minds.push(
            "This client has no key: its connection, or the user name that is typed, says who it is. Where a tool \
             wants a password, any text will do.",
        );
    }
    (end, guide)
}

fn write(guide: &Guide, directory: &Path) -> Result<(), CommandError> {
    if guide.files.is_empty() {
        return Err(CommandError::of(Owner::Client, format!("{} has no file to write", guide.title)));
    }
    let failed =
        |path: &Path, error: std::io::Error| CommandError::gate(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, content) in &guide.files {
        let path = directory.join(name);
        if path.exists() {
            return Err(CommandError::gate(format!("{} is there already, and nothing is overwritten", path.display())));
        }
        // The key will stand in it.
        let written = new_file(&path).and_then(|mut file| file.write_all(content.as_bytes()));
        written.map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
