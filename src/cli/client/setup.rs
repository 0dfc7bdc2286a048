//! `patgate client setup CLIENT --for TOOL`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::endpoint::Endpoint;
use super::guide::{Guide, Tool};
use super::render;
use crate::base::fault::Owner;
use crate::cli::private::new_file;
use crate::cli::shell::{CommandError, ConfigArgs, say};
use crate::config::file;

/// Which client, and which tool.
#[derive(Args)]
pub(in crate::cli) struct SetupArgs {
    /// The client.
    client: String,
    /// The tool.
    #[arg(long = "for", value_enum)]
    tool: Tool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the roots of the gate's certificate lie on the tool's machine, if that machine does not trust them.
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Write the tool's files into this directory; what is there stays.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// The command.
pub(super) fn setup(args: &SetupArgs) -> Result<(), CommandError> {
    let (end, guide) = guide(&args.config.file()?, &args.client, args.tool, args.ca.as_deref())?;
    match args.config.json {
        true => say(&render::json(&guide, args.tool).to_string()),
        false => say(render::text(&guide, &end).trim_end()),
    }
    match &args.write {
        Some(directory) => write(&guide, directory),
        None => Ok(()),
    }
}

/// Prints the set-up of a tool.
pub(in crate::cli) fn show(file: &Path, client: &str, tool: Tool, ca: &str) -> Result<(), CommandError> {
    let (end, guide) = guide(file, client, tool, Some(ca))?;
    say(render::text(&guide, &end).trim_end());
    Ok(())
}

/// The guide of a tool for a client of a configuration.
fn guide(file: &Path, client: &str, tool: Tool, ca: Option<&str>) -> Result<(Endpoint, Guide), CommandError> {
    let (config, _) = file::load(file).map_err(CommandError::gate)?;
    let found = config.clients.iter().find(|(name, _)| name.as_str() == client);
    let Some((name, found)) = found else {
        let known: Vec<_> = config.clients.keys().map(ToString::to_string).collect();
        let text = format!("no client has the name {client}; the file has {}", known.join(", "));
        return Err(CommandError::of(Owner::Client, text));
    };
    let whole = |ca: &str| std::path::absolute(ca).map_or_else(|_| ca.to_owned(), |path| path.display().to_string());
    let end = Endpoint { ca: ca.map(whole), ..Endpoint::of(&config, name.as_str(), found) };
    let guide = tool.guide(&end);
    Ok((end, guide))
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
