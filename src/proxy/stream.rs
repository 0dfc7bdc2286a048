//! Every driver route but the login and the renewal: the head is adjusted, both bodies stream untouched.

use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request};

use super::read::Untouched;
use super::sealing::token_header;
use super::trouble::{failed, no_redirect};
use super::{AnswerBody, Peer, Worker, headers};
use crate::admit::Turn;
use crate::base::fault::{Fault, Kind};
use crate::session::Use;
use crate::snowflake::route::{Route, Stream};
use crate::telemetry::record::Record;
use crate::upstream::RequestBody;

impl Worker {
    pub(super) async fn stream(
        &self,
        peer: &Peer,
        mut head: request::Parts,
        body: &mut Untouched,
        route: Route,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        headers::strip_hop(&mut head.headers);
        self.gate.admission.arrives_with_request(peer).await?;
        let mut ends = None;
        let (lanes, turn) = match &self.gate.sealing {
            Some(sealing) => {
                let ticket = sealing.header(&head.headers, Use::Session).await?;
                record.client = Some(ticket.client.to_string());
                let count = self.gate.admission.session(peer, &ticket)?;
                let turn = match ends_something(route) {
                    true => Turn::default(),
                    false => self.gate.admission.request(&ticket).await?,
                };
                sealing.sessions.seen(&ticket, peer.ip, sealing.clock.now(), count);
                if route == Route::Stream(Stream::Logout) && deletes(&head) {
                    ends = Some((sealing, ticket.session));
                }
                head.headers.insert(header::AUTHORIZATION, token_header(&ticket.token)?);
                (self.lanes(&ticket.account)?, turn)
            }
            None => {
                session_token_only(&mut head.headers)?;
                (self.only_lanes()?, Turn::default())
            }
        };
        head.headers.insert(header::HOST, lanes.authority.clone());
        head.version = Version::HTTP_11;
        let turn = match ends_something(route) {
            true => turn,
            false => turn.with(lanes.place(self.gate.config.limits.delay).await?),
        };
        let sent = lanes.send(Request::from_parts(head, RequestBody::Streamed(body.take()?))).await;
        let mut response = sent.map_err(failed)?;
        no_redirect(&response)?;
        headers::strip_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        if let Some((sealing, session)) = ends.filter(|_| response.status().is_success()) {
            sealing.sessions.ended(session);
        }
        record.streamed(response.status().as_u16());
        let record = Record::new(record.trace, record.peer, record.route);
        Ok(response.map(|body| AnswerBody::streamed(body, record, turn)))
    }
}

/// Whether a request to `/session` is the logout that drivers send (protocol facts 2).
fn deletes(head: &request::Parts) -> bool {
    head.uri.query().unwrap_or_default().split('&').any(|pair| pair == "delete=true")
}

/// A cancellation, a logout or a sign of life makes less work, not more: it never waits behind what it is about.
fn ends_something(route: Route) -> bool {
    matches!(route, Route::Stream(Stream::Abort | Stream::Logout | Stream::Heartbeat))
}

/// Lets Snowflake's session and master tokens through and nothing else in their place: a client key must not leave the
/// gate, a foreign bearer token has no business here, and what some drivers write without a token (`Basic`, alone) is
/// dropped.
fn session_token_only(headers: &mut HeaderMap) -> Result<(), Fault> {
    let key = |value: &HeaderValue| value.as_bytes().windows(4).any(|part| part == b"pgk_");
    if headers.get_all(header::AUTHORIZATION).iter().any(key) {
        let fault = Fault::new(Kind::FlowForeign);
        return Err(fault.because("a client key in the Authorization header of a driver's path"));
    }
    let token = |value: &HeaderValue| value.as_bytes().starts_with(b"Snowflake Token=\"");
    if headers.get_all(header::AUTHORIZATION).iter().any(|value| !token(value)) {
        headers.remove(header::AUTHORIZATION);
    }
    Ok(())
}
