//! `patgate client new`: makes a key for a client.

use clap::Args;

use crate::admit::key;
use crate::base::clock::SystemRandom;
use crate::base::names::ClientName;
use crate::cli::shell::{CommandError, say};

/// What to issue.
#[derive(Args)]
pub(in crate::cli) struct NewArgs {
    /// The client's name.
    name: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// The command. It prints the key once and stores it nowhere.
pub(super) fn new(args: &NewArgs) -> Result<(), CommandError> {
    let name = ClientName::parse(&args.name)
        .ok_or_else(|| CommandError::gate(format!("this is not a valid client name. Use {}.", ClientName::RULE)))?;
    let issued = key::issue(&name, &SystemRandom).map_err(CommandError::gate)?;
    let hash = key::stored(&issued);
    if args.json {
        say(&serde_json::json!({ "key": issued.expose(), "hash": hash }).to_string());
        return Ok(());
    }
    say(&format!(
        "The key, shown only now. Put it into the password field of the tool:\n\n  {}\n\n\
         For the configuration of the gate:\n\n  [clients.{name}]\n  credential = \"…\"\n  keys = [\"{hash}\"]\n  \
         networks = [\"…\"]   # without it: this machine only\n\n\
         To exchange a key without a gap, put the new hash beside the old one, change the tools, take the old one out.",
        issued.expose()
    ));
    Ok(())
}
