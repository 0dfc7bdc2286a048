//! [`Place`]: where a running gate takes the operator's commands.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::app::OperatorKey;
use crate::base::secret::Secret;
use crate::config::Admin;

/// An admin address, or a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Address(SocketAddr),
    #[cfg(unix)]
    Socket(std::path::PathBuf),
}

/// Why a request has no answer.
pub(super) type AskError = Box<dyn std::error::Error + Send + Sync>;

impl Place {
    /// What the command line names: an address with its port, a port of this machine, or a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let bare = bare.replacen("localhost:", "127.0.0.1:", 1);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(port) = bare.trim_start_matches(':').parse() {
            return Ok(Self::Address((Ipv4Addr::LOCALHOST, port).into()));
        }
        #[cfg(unix)]
        if text.contains('/') && !text.contains("://") {
            return Ok(Self::Socket(text.into()));
        }
        Err("write an address and a port, such as 127.0.0.1:8444, or the path of a socket, such as /run/patgate/admin"
            .to_owned())
    }

    /// What a configuration names.
    pub(super) fn of(admin: Admin) -> Self {
        #[cfg(unix)]
        if let Some(socket) = admin.socket {
            return Self::Socket(socket);
        }
        Self::Address(admin.address)
    }

    /// Sends a request; returns status and body of the answer.
    pub(super) async fn ask(&self, method: Method, target: &str) -> Result<(StatusCode, Bytes), AskError> {
        match self {
            Self::Address(address) => {
                exchange(TcpStream::connect(address).await?, method, target, OperatorKey::of(*address)).await
            }
            #[cfg(unix)]
            Self::Socket(path) => exchange(tokio::net::UnixStream::connect(path).await?, method, target, None).await,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "its admin address {address}"),
            #[cfg(unix)]
            Self::Socket(path) => write!(f, "its socket {}", path.display()),
        }
    }
}

async fn exchange<S>(
    stream: S,
    method: Method,
    target: &str,
    key: Option<Secret>,
) -> Result<(StatusCode, Bytes), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
    if let Some(key) = key {
        request = request.header(OperatorKey::HEADER, key.expose());
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_port_and_a_path_are_told_apart() {
        let local = Place::Address("127.0.0.1:8444".parse().unwrap());
        for text in ["127.0.0.1:8444", "localhost:8444", "http://localhost:8444/", "8444", ":8444"] {
            assert_eq!(Place::parse(text), Ok(local.clone()), "{text}");
        }
        assert_eq!(Place::parse("[::1]:8444"), Ok(Place::Address("[::1]:8444".parse().unwrap())));
        #[cfg(unix)]
        assert_eq!(Place::parse("run/admin"), Ok(Place::Socket("run/admin".into())));
        for text in ["", "gate", "127.0.0.1", "https://127.0.0.1:8444", "127.0.0.1:99999"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
