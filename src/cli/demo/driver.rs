//! A minimal driver: it logs in and sends a query, as any client of the gate does.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::base::fault::chain;
use crate::proxy::TRACE_HEADER;
use crate::tls;

/// A client of the gate.
#[derive(Clone)]
pub(super) struct Driver {
    gate: SocketAddr,
    tls: TlsConnector,
}

/// An answer and the trace id that came with it.
pub(super) struct Answered {
    pub body: Value,
    pub trace: String,
}

impl Answered {
    /// Whether Snowflake, or the gate, reported success.
    pub fn ok(&self) -> bool {
        self.body["success"] == true
    }

    /// A text in `data`.
    pub fn data(&self, name: &str) -> &str {
        self.body["data"][name].as_str().unwrap_or_default()
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Driver {
    pub(super) fn new(gate: SocketAddr, ca: &Path) -> Result<Self, tls::TlsError> {
        Ok(Self { gate, tls: TlsConnector::from(Arc::new(tls::client(Some(ca))?)) })
    }

    /// Logs in with a key as the password.
    pub(super) async fn login(&self, key: &str) -> Result<Answered, String> {
        let body = serde_json::json!({ "data": {
            "CLIENT_APP_ID": "Demo", "CLIENT_APP_VERSION": "1.0", "ACCOUNT_NAME": "demo", "LOGIN_NAME": "anything",
            "PASSWORD": key, "SESSION_PARAMETERS": {}, "CLIENT_ENVIRONMENT": { "APPLICATION": "patgate demo" },
        }});
        self.post("/session/v1/login-request", None, &body).await
    }

    /// Sends a query in a session.
    pub(super) async fn query(&self, token: &str, sql: &str) -> Result<Answered, String> {
        let body = serde_json::json!({ "sqlText": sql });
        self.post("/queries/v1/query-request?requestId=1", Some(token), &body).await
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Answered, String> {
        self.try_post(path, token, body).await.map_err(|error| chain(&*error))
    }

    async fn try_post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Answered, Failure> {
        let tcp = TcpStream::connect(self.gate).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "application/snowflake")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Snowflake Token=\"{token}\""));
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_string())))?).await?;
        let trace =
            response.headers().get(TRACE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answered { body: serde_json::from_slice(&body)?, trace })
    }
}
