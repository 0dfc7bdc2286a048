//! `patgate console`: prints the address of the console, with a token for a browser.

use super::admin_client::ask;
use super::shell::{CommandError, GateArgs, say, say_json};
use crate::app::Verb;
use crate::app::operator::ConsoleToken;

/// The command.
pub(super) fn console(args: &GateArgs) -> Result<(), CommandError> {
    let (_, token): (_, ConsoleToken) = ask(args, Verb::ConsoleToken, "")?;
    if args.json {
        say_json(&token);
        return Ok(());
    }
    let ConsoleToken { address, token } = &token;
    say(&format!(
        "http://{address}/console#{token}\n\n\
         The token is good once, for ten minutes; the page then works for eight hours.\n\
         From another machine: forward a port (ssh -L {port}:{address} HOST), and open it as 127.0.0.1.",
        port = address.port()
    ));
    Ok(())
}
