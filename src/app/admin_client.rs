//! A question to the operator's door of a running gate.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::shell::Failed;

/// A gate that reads a store may take as long as that store.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks, and reads the answer as JSON.
pub(super) async fn ask(address: SocketAddr, method: Method, target: &str) -> Result<(StatusCode, Value), Failed> {
    let asked = tokio::time::timeout(PATIENCE, exchange(address, method, target)).await;
    let failed = |why: String| {
        Failed::gate(format!("no answer from the gate's admin address {address}: {why}. Is it running with this file?"))
    };
    asked.map_err(|_| failed("nothing came in a minute".into()))?.map_err(|error| failed(error.to_string()))
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    target: &str,
) -> Result<(StatusCode, Value), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    Ok((status, serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?))
}
