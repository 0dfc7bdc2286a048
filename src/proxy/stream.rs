//! Every driver route but the login: the head is adjusted, both bodies stream untouched.

use http::{Request, Response, Version, header};
use hyper::body::Incoming;

use super::gate::Lanes;
use super::trouble::{failed, no_redirect, store_fault};
use super::{AnswerBody, Peer, Worker, headers};
use crate::base::fault::{Fault, Kind};
use crate::base::secret::Secret;
use crate::snowflake::PAT_AUTHENTICATOR;
use crate::snowflake::route::{Route, Stream};
use crate::telemetry::record::Record;
use crate::upstream::RequestBody;

impl Worker {
    pub(super) async fn stream(
        &self,
        peer: Peer,
        request: Request<Incoming>,
        route: Route,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        self.gate.admission.address(peer.ip)?;
        let (mut head, body) = request.into_parts();
        headers::strip_hop(&mut head.headers);
        let lanes = match client_key(&head.headers) {
            None => self.only_lanes()?,
            Some(key) if route == Route::Stream(Stream::SqlApi) => {
                self.swap_bearer(peer, &key, &mut head.headers, record).await?
            }
            Some(_) => {
                // A key in the place of a session token must not leave the gate.
                let fault = Fault::new(Kind::FlowForeign);
                return Err(fault.because("a client key in the Authorization header of a driver's path"));
            }
        };
        head.headers.insert(header::HOST, lanes.authority.clone());
        head.version = Version::HTTP_11;
        let sent = lanes.pool.send(Request::from_parts(head, RequestBody::Streamed(body))).await;
        let mut response = sent.map_err(failed)?;
        lanes.breaker.close();
        no_redirect(&response)?;
        headers::strip_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        record.streamed(response.status().as_u16());
        let record = Record::new(record.trace, record.peer, record.route);
        Ok(response.map(|body| AnswerBody::streamed(body, record)))
    }

    /// The SQL API is without sessions: the client's key comes with every request, and the PAT goes with every request.
    async fn swap_bearer(
        &self,
        peer: Peer,
        key: &Secret,
        headers: &mut http::HeaderMap,
        record: &mut Record,
    ) -> Result<&Lanes, Fault> {
        let grant = self.gate.admission.login(peer.ip, key)?;
        record.client = Some(grant.client().to_string());
        let held = self.gate.pats.current(&grant).await.map_err(store_fault)?;
        let bearer = format!("Bearer {}", held.pat.expose());
        let value = http::HeaderValue::try_from(bearer).map_err(|_| Fault::new(Kind::SecretUnusable))?;
        headers.insert(header::AUTHORIZATION, sensitive(value));
        headers.insert("x-snowflake-authorization-token-type", http::HeaderValue::from_static(PAT_AUTHENTICATOR));
        self.lanes(grant.account())
    }
}

/// A client key in the Authorization header, whatever the scheme.
fn client_key(headers: &http::HeaderMap) -> Option<Secret> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let bytes = value.as_bytes();
        let at = bytes.windows(4).position(|part| part == b"pgk_")?;
        let text = std::str::from_utf8(&bytes[at..]).ok()?;
        Some(Secret::new(text.trim_end_matches(['"', ' ']).to_owned()))
    })
}

fn sensitive(mut value: http::HeaderValue) -> http::HeaderValue {
    value.set_sensitive(true);
    value
}
