//! [`Tunnel`]: a connection through a forward proxy, by CONNECT (RFC 9110, section 9.3.6).
//!
//! The proxy learns only the target: TLS goes through the proxy to Snowflake, and the gate verifies Snowflake's name as
//! usual.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::zeroize::Zeroizing;
use tokio::net::TcpStream;

use super::dial::dial;
use super::failure::Hop;
use crate::base::secret::Secret;

/// A forward proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Tunnel {
    address: String,
    authorization: Option<HeaderValue>,
}

impl Tunnel {
    /// The proxy at `HOST:PORT`, with user and password if it needs them (RFC 7617).
    ///
    /// # Errors
    /// If the user name has a colon.
    pub fn new(address: &str, user: Option<(&str, &Secret)>) -> io::Result<Self> {
        let basic = |(user, password): (&str, &Secret)| {
            if user.contains(':') {
                return Err(io::Error::other("the forward proxy's user name has a colon"));
            }
            let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
            let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)));
            let mut value = HeaderValue::from_str(&text).map_err(io::Error::other)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self { address: address.to_owned(), authorization: user.map(basic).transpose()? })
    }

    /// The proxy's `HOST:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A connection to `target` through the proxy; `hop` is the part of the path under way.
    pub(super) async fn open(&self, target: &str, hop: &mut Hop) -> io::Result<TcpStream> {
        let failed = |what: &str| io::Error::other(format!("the forward proxy {}: {what}", self.address));
        let tcp = dial(&self.address, hop).await.map_err(|error| failed(&error.to_string()))?;
        *hop = Hop::Proxy;
        let (mut send, connection) =
            http1::handshake(TokioIo::new(tcp)).await.map_err(|error| failed(&error.to_string()))?;
        tokio::spawn(connection.with_upgrades());
        let mut ask = Request::new(Empty::<Bytes>::new());
        *ask.method_mut() = Method::CONNECT;
        *ask.uri_mut() = Uri::builder()
            .authority(target)
            .build()
            .map_err(|_| failed("the account's address is not a URI authority"))?;
        let host =
            HeaderValue::from_str(target).map_err(|_| failed("the account's address does not fit into a header"))?;
        ask.headers_mut().insert(header::HOST, host);
        if let Some(authorization) = &self.authorization {
            ask.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let answer = send.send_request(ask).await.map_err(|error| failed(&error.to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(&format!("it refuses the tunnel with {}", answer.status())));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(|error| failed(&error.to_string()))?;
        let parts =
            tunnel.downcast::<TokioIo<TcpStream>>().map_err(|_| failed("the connection has an unexpected type"))?;
        // Snowflake sends nothing before the gate does.
        match parts.read_buf.is_empty() {
            true => Ok(parts.io.into_inner()),
            false => Err(failed("it sent data of its own into the tunnel")),
        }
    }
}
