//! The operator's door: plain HTTP on loopback. `/livez` says that the process runs, `/readyz` that every credential has a
//! PAT and that no drain has begun.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::base::drain::Watch;
use crate::secrets::Pats;

const HEAD: Duration = Duration::from_secs(5);

/// Serves until the drain begins, and while it lasts.
pub(super) async fn serve(listener: TcpListener, pats: Pats, drain: Watch) {
    // The watch itself would keep the drain from ending: only the signal is needed.
    let stopping = drain.signal();
    drop(drain);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (pats, stopping) = (pats.clone(), stopping.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &pats, *stopping.borrow()));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(cause = %error, "an admin connection broke");
            }
        });
    }
}

async fn answer<B>(request: Request<B>, pats: &Pats, stopping: bool) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => (StatusCode::OK, r#"{"live":true}"#),
        (&Method::GET, "/readyz") if stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"ready":false,"why":"the gate is stopping"}"#)
        }
        (&Method::GET, "/readyz") if pats.all_held().await => (StatusCode::OK, r#"{"ready":true}"#),
        (&Method::GET, "/readyz") => (
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"ready":false,"why":"a credential's PAT has not been read yet; see the log"}"#,
        ),
        (_, "/livez" | "/readyz") => (StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"GET only"}"#),
        _ => (StatusCode::NOT_FOUND, r#"{"error":"known here: /livez, /readyz"}"#),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
