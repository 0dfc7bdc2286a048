//! [`Answers`]: what a set-up needs to know, from the command line or from whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::base::fault::Owner;
use crate::base::names::ClientName;
use crate::cli::client::Tool;
use crate::cli::shell::{CommandError, say};

/// What is known, and what is to be asked.
#[derive(Args)]
pub(in crate::cli) struct InitArgs {
    /// The directory of the configuration; patgate.toml and tls/ must not be there yet.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The account's host, such as myorg-prod.snowflakecomputing.com.
    #[arg(long, value_name = "HOST")]
    account: Option<String>,
    /// The service user.
    #[arg(long)]
    user: Option<String>,
    /// The store: file=DIRECTORY, env=, vault=https://… (its token in VAULT_TOKEN), aws=REGION, azure=https://…,
    /// gcp=PROJECT.
    #[arg(long, value_name = "KIND=WHERE")]
    store: Option<String>,
    /// Where the PAT is in the store.
    #[arg(long, value_name = "PATH[#FIELD]")]
    pat: Option<String>,
    /// The first client.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The name that tools connect to.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The tool whose set-up is printed at the end.
    #[arg(long, value_enum, default_value = "python")]
    tool: Tool,
    /// The port that tools connect to.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Where the gate takes commands.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    admin: SocketAddr,
    /// Ask nothing; what is missing is an error.
    #[arg(long)]
    pub yes: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Everything that a set-up needs to know.
pub(super) struct Answers {
    pub dir: PathBuf,
    pub account: String,
    pub user: String,
    pub store: StoreAnswer,
    pub pat: String,
    pub client: ClientName,
    pub host: String,
    pub port: u16,
    pub tool: Tool,
    pub admin: SocketAddr,
}

/// A store, and where it is.
pub(super) struct StoreAnswer {
    pub kind: String,
    pub place: String,
}

const STORES: [&str; 6] = ["file", "env", "vault", "aws", "azure", "gcp"];

impl InitArgs {
    /// All answers; asks for those that are missing.
    ///
    /// # Errors
    /// If one is missing and nobody can be asked, or one is of no use.
    pub(super) fn answers(&self) -> Result<Answers, CommandError> {
        let may_ask = !self.yes && std::io::stdin().is_terminal();
        let ask = |flag: &str, question: &str, given: Option<String>| -> Result<String, CommandError> {
            match given {
                Some(given) => Ok(given),
                None if may_ask => asked(question),
                None => {
                    let why = if self.yes { "" } else { " (stdin is no terminal, so that nothing is asked)" };
                    Err(CommandError::of(Owner::Client, format!("--{flag} is missing: {question}{why}")))
                }
            }
        };
        let dir =
            ask("dir", "the directory of the configuration", self.dir.as_ref().map(|dir| dir.display().to_string()))?;
        let account =
            ask("account", "the account's host, such as myorg-prod.snowflakecomputing.com", self.account.clone())?;
        let user = ask("user", "the service user at Snowflake", self.user.clone())?;
        let store = ask(
            "store",
            "the store, such as file=/etc/patgate/secrets or vault=https://vault:8200",
            self.store.clone(),
        )?;
        let pat = ask("pat", "where the PAT is in the store, such as powerbi.json#token", self.pat.clone())?;
        let client = ask("client", "a name for the first client, such as powerbi-gateway", self.client.clone())?;
        let host = ask("host", "the name that tools connect to, such as gate.example.com", self.host.clone())?;
        let wrong = |text: String| CommandError::of(Owner::Client, text);
        if account.contains("://") || !account.contains('.') && !account.starts_with("localhost") {
            let text = "write the account's whole host, such as myorg-prod.snowflakecomputing.com";
            return Err(wrong(format!("{account} is no host: {text}")));
        }
        let (kind, place) = store.split_once('=').unwrap_or((&store, ""));
        if !STORES.contains(&kind) {
            return Err(wrong(format!("{kind} is no store: write one of {} and where it is", STORES.join(", "))));
        }
        // In the file a relative path counts from the file's own directory.
        let whole = |place: &str| {
            std::path::absolute(place).map_or_else(|_| place.to_owned(), |path| path.display().to_string())
        };
        let place = if kind == "file" { whole(place) } else { place.to_owned() };
        let name = ClientName::parse(&client)
            .ok_or_else(|| wrong(format!("{client} is no name of a client. Use {}.", ClientName::RULE)))?;
        Ok(Answers {
            dir: dir.into(),
            account,
            user,
            store: StoreAnswer { kind: kind.to_owned(), place },
            pat,
            client: name,
            host,
            port: self.port,
            tool: self.tool,
            admin: self.admin,
        })
    }
}

/// A line from the terminal.
fn asked(question: &str) -> Result<String, CommandError> {
    let (mut line, mut out) = (String::new(), std::io::stdout());
    let _reader_gone = write!(out, "{question}: ").and_then(|()| out.flush());
    let read = std::io::stdin().lock().read_line(&mut line).map_err(CommandError::gate)?;
    if read == 0 {
        say("");
        return Err(CommandError::of(Owner::Client, "the set-up was broken off; nothing was written"));
    }
    Ok(line.trim().to_owned())
}
