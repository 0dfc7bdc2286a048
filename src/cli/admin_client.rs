//! A request to the admin address of a running gate.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::shell::{CommandError, ConfigArgs, control_runtime};
use crate::app::Verb;
use crate::config::{Admin, file};

/// The deadline of a request. A gate that reads a store may take as long as that store.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a refusal.
#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

/// Why a question has no answer that a command can use.
pub(super) enum NoAnswer {
    /// The configuration, which has the gate's address, cannot be read.
    NoFile(CommandError),
    /// The gate was not asked, or did not answer.
    NotAsked(CommandError),
    /// The gate refused, for this reason.
    Refused(String),
}

impl From<NoAnswer> for CommandError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::NoFile(error) | NoAnswer::NotAsked(error) => error,
            NoAnswer::Refused(reason) => Self::gate(format!("the gate answers: {reason}")),
        }
    }
}

impl From<CommandError> for NoAnswer {
    fn from(error: CommandError) -> Self {
        Self::NotAsked(error)
    }
}

/// Sends a request to the gate of this configuration; returns its status and its answer.
pub(super) fn ask<T: DeserializeOwned>(
    args: &ConfigArgs,
    verb: Verb,
    query: &str,
) -> Result<(StatusCode, T), NoAnswer> {
    let (method, path) = verb.route();
    let target = format!("{path}{query}");
    let (config, _) = file::load(&args.config).map_err(|report| NoAnswer::NoFile(CommandError::gate(report)))?;
    let place = Place::of(config.admin);
    let failed = |why: String| {
        let text = format!(
            "no answer from the gate at {place}: {why}. Is it running with this file? If admin.address or admin.socket \
             was changed, the gate uses the old one until it restarts"
        );
        NoAnswer::NotAsked(CommandError::gate(text))
    };
    let asked = async { tokio::time::timeout(PATIENCE, place.ask(method, &target)).await };
    let answered = control_runtime()?.block_on(asked);
    let answered = answered.map_err(|_| failed("no answer within a minute".into()))?;
    let (status, body) = answered.map_err(|error| failed(error.to_string()))?;
    match serde_json::from_slice(&body) {
        Ok(answer) => Ok((status, answer)),
        Err(unexpected) => match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(ErrorAnswer { error }) => Err(NoAnswer::Refused(error)),
            Err(_) => Err(failed(format!("the answer is from another version of patgate ({unexpected})"))),
        },
    }
}

/// A value in the query string of a target.
pub(super) fn encoded(value: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
}

/// Where the gate's operator asks.
enum Place {
    Address(SocketAddr),
    #[cfg(unix)]
    Socket(std::path::PathBuf),
}

impl Place {
    fn of(admin: Admin) -> Self {
        #[cfg(unix)]
        if let Some(socket) = admin.socket {
            return Self::Socket(socket);
        }
        Self::Address(admin.address)
    }

    async fn ask(&self, method: Method, target: &str) -> Result<(StatusCode, Bytes), AskError> {
        match self {
            Self::Address(address) => exchange(TcpStream::connect(address).await?, method, target).await,
            #[cfg(unix)]
            Self::Socket(path) => exchange(tokio::net::UnixStream::connect(path).await?, method, target).await,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "its admin address {address}"),
            #[cfg(unix)]
            Self::Socket(path) => write!(f, "its socket {}", path.display()),
        }
    }
}

type AskError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange<S>(stream: S, method: Method, target: &str) -> Result<(StatusCode, Bytes), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}
