//! [`Answers`]: what a set-up needs to know, from the command line or from whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::proofs;
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::base::names::ClientName;
use crate::cli::cert;
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
    /// The address that the gate listens on; 127.0.0.1 for the tools of this machine alone.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    listen: IpAddr,
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
#[derive(Clone)]
pub(super) struct Answers {
    pub dir: PathBuf,
    pub account: String,
    pub user: String,
    pub store: StoreAnswer,
    pub pat: String,
    pub client: ClientName,
    pub host: String,
    pub listen: SocketAddr,
    pub port: u16,
    pub tool: Tool,
    pub admin: SocketAddr,
}

/// A store, and where it is.
#[derive(Clone)]
pub(super) struct StoreAnswer {
    pub kind: String,
    pub place: String,
}

const STORES: [&str; 6] = ["file", "env", "vault", "aws", "azure", "gcp"];

impl InitArgs {
    /// All answers, each proven at once; asks for those that are missing, and again for those that are wrong.
    ///
    /// # Errors
    /// If one is missing and nobody can be asked, or one that was given is of no use.
    pub(super) async fn answers(&self, env: &Env) -> Result<Answers, CommandError> {
        let asker = Asker { may_ask: !self.yes && std::io::stdin().is_terminal(), yes: self.yes };
        let dir = self.dir.as_ref().map(|dir| dir.display().to_string());
        let dir = asker.ask("dir", "the directory of the configuration", dir.as_deref(), any).await?;
        let mut answers = Answers {
            dir: dir.into(),
            account: String::new(),
            user: "USER".to_owned(),
            store: StoreAnswer { kind: "env".to_owned(), place: String::new() },
            pat: "PAT".to_owned(),
            client: ClientName::parse("client").ok_or_else(|| CommandError::gate("client is no name"))?,
            host: "localhost".to_owned(),
            listen: SocketAddr::new(self.listen, self.port),
            port: self.port,
            tool: self.tool,
            admin: self.admin,
        };
        let question = "the account's host, such as myorg-prod.snowflakecomputing.com";
        let draft = &answers;
        let reached = async |text: String| {
            let account = account(text)?;
            proofs::account(&Answers { account: account.clone(), ..draft.clone() }, env).await?;
            Ok(account)
        };
        answers.account = asker.ask("account", question, self.account.as_deref(), reached).await?;
        loop {
            let question = "the store, such as file=/etc/patgate/secrets or vault=https://vault:8200";
            answers.store = asker.ask("store", question, self.store.as_deref(), async |text| store(&text)).await?;
            let question = "where the PAT is in the store, such as powerbi.json#token";
            answers.pat = asker.ask("pat", question, self.pat.as_deref(), any).await?;
            match proofs::pat(&answers, env).await {
                Ok(()) => break,
                Err(wrong) if asker.may_ask && (self.store.is_none() || self.pat.is_none()) => asker.wrong(&wrong),
                Err(wrong) => return Err(wrong),
            }
        }
        answers.user = asker.ask("user", "the service user at Snowflake", self.user.as_deref(), any).await?;
        let question = "a name for the first client, such as powerbi-gateway";
        answers.client = asker.ask("client", question, self.client.as_deref(), async |text| client(&text)).await?;
        let question = "the name that tools connect to, such as gate.example.com";
        answers.host = asker.ask("host", question, self.host.as_deref(), host).await?;
        Ok(answers)
    }
}

/// Who asks.
struct Asker {
    may_ask: bool,
    yes: bool,
}

impl Asker {
    /// The answer to a question: the one that was given, or what somebody types, until it is proven.
    async fn ask<T>(
        &self,
        flag: &str,
        question: &str,
        given: Option<&str>,
        prove: impl AsyncFn(String) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        if let Some(given) = given {
            return prove(given.to_owned()).await;
        }
        if !self.may_ask {
            let why = if self.yes { "" } else { " (stdin is no terminal, so that nothing is asked)" };
            return Err(CommandError::of(Owner::Client, format!("--{flag} is missing: {question}{why}")));
        }
        loop {
            match prove(asked(question)?).await {
                Ok(proven) => return Ok(proven),
                Err(wrong) => self.wrong(&wrong),
            }
        }
    }

    fn wrong(&self, wrong: &CommandError) {
        say(&format!("  {}\n  Once more.", wrong.text.trim_end()));
    }
}

async fn any(text: String) -> Result<String, CommandError> {
    match text.is_empty() {
        true => Err(CommandError::of(Owner::Client, "an answer is needed")),
        false => Ok(text),
    }
}

fn account(text: String) -> Result<String, CommandError> {
    let whole = text.contains('.') || text.starts_with("localhost");
    if text.contains("://") || !whole {
        let wanted = "write the account's whole host, such as myorg-prod.snowflakecomputing.com";
        return Err(CommandError::of(Owner::Client, format!("{text} is no host: {wanted}")));
    }
    Ok(text)
}

fn store(text: &str) -> Result<StoreAnswer, CommandError> {
    let (kind, place) = text.split_once('=').unwrap_or((text, ""));
    if !STORES.contains(&kind) {
        let text = format!("{kind} is no store: write one of {} and where it is", STORES.join(", "));
        return Err(CommandError::of(Owner::Client, text));
    }
    // In the file a relative path counts from the file's own directory.
    let whole =
        |place: &str| std::path::absolute(place).map_or_else(|_| place.to_owned(), |path| path.display().to_string());
    let place = if kind == "file" { whole(place) } else { place.to_owned() };
    Ok(StoreAnswer { kind: kind.to_owned(), place })
}

fn client(text: &str) -> Result<ClientName, CommandError> {
    let none = || CommandError::of(Owner::Client, format!("{text} is no name of a client. Use {}.", ClientName::RULE));
    ClientName::parse(text).ok_or_else(none)
}

async fn host(text: String) -> Result<String, CommandError> {
    cert::check_name(&text)?;
    Ok(text)
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
