//! Every driver route but the login and the renewal: the gate adjusts the head, and streams both bodies unchanged.

use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request};

use super::body::Content;
use super::buffered::PendingBody;
use super::error_map::no_redirect;
use super::{Worker, headers};
use crate::admit::{Peer, RequestPermit, key};
use crate::base::fault::{Fault, Kind};
use crate::session::authorization;
use crate::snowflake::route::{Route, Stream};
use crate::snowflake::token_header;
use crate::telemetry::record::{Record, Step};
use crate::upstream::{InFlightPermit, RequestBody};

impl Worker {
    pub(super) async fn stream(
        &self,
        peer: &Peer,
        mut head: request::Parts,
        body: &mut PendingBody,
        route: Route,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        let generation = &self.generation;
        headers::strip_hop(&mut head.headers);
        generation.admission.arrives_with_request(peer).await?;
        let limited = !makes_less_work(route);
        let mut ends = None;
        let (account, admitted) = match &generation.services.sessions {
            Some(sessions) => {
                let admission = &generation.admission;
                let (ticket, admitted) = sessions.admit(&head.headers, peer, admission, limited, record).await?;
                if route == Route::Stream(Stream::Logout) && deletes(&head) {
                    ends = Some((sessions, ticket.session));
                }
                head.headers.insert(header::AUTHORIZATION, authorization(&ticket)?);
                (self.account(&ticket.account)?, admitted)
            }
            None => {
                record.note(|facts| facts.account = generation.config.accounts.keys().next().cloned());
                session_token_only(&mut head.headers)?;
                (self.only_account()?, RequestPermit::default())
            }
        };
        record.step(Step::Admitted);
        head.headers.insert(header::HOST, account.authority().clone());
        head.version = Version::HTTP_11;
        let in_flight = match limited {
            true => account.in_flight(generation.config.limits.delay).await?,
            false => InFlightPermit::exempt(),
        };
        record.step(Step::Sent);
        let request = Request::from_parts(head, RequestBody::Streamed(body.take()?));
        let response = account.send(request, in_flight).await?;
        record.step(Step::Answered);
        no_redirect(&response, account.authority())?;
        if let Some((sessions, session)) = ends.filter(|_| response.status().is_success()) {
            sessions.logged_out(session);
        }
        Ok(headers::for_client(response).map(|body| Content::Streamed(body, admitted)))
    }
}

/// Whether a request to `/session` is the logout that drivers send: `POST /session?delete=true` (connector-python,
/// `connection.py`, `delete_session`).
fn deletes(head: &request::Parts) -> bool {
    head.uri.query().unwrap_or_default().split('&').any(|pair| pair == "delete=true")
}

/// Whether a request is a cancellation, a logout or a heartbeat. It makes less work, so it must not wait behind the
/// requests that it concerns.
fn makes_less_work(route: Route) -> bool {
    match route {
        Route::Stream(Stream::Abort | Stream::Logout | Stream::Heartbeat) => true,
        Route::Stream(Stream::Query | Stream::Result | Stream::Monitoring | Stream::Telemetry) => false,
        Route::Login | Route::Renew | Route::Rest | Route::Foreign | Route::WrongMethod | Route::Unknown => false,
    }
}

/// Passes only Snowflake's session and master tokens. A client key must not leave the gate, and a foreign bearer token
/// does not belong here. Some drivers send `Basic` alone when they have no token; the gate drops it.
fn session_token_only(headers: &mut HeaderMap) -> Result<(), Fault> {
    let holds_key = |value: &HeaderValue| key::stands_in(value.as_bytes());
    if headers.get_all(header::AUTHORIZATION).iter().any(holds_key) {
        let fault = Fault::new(Kind::FlowForeign);
        return Err(fault.with_cause("a client key in the Authorization header of a driver's path"));
    }
    if headers.get_all(header::AUTHORIZATION).iter().any(|value| !token_header::is(value)) {
        headers.remove(header::AUTHORIZATION);
    }
    Ok(())
}
