//! Every driver route but the login and the renewal: the gate adjusts the head, and streams both bodies unchanged.
//!
//! Heartbeats, cancellations, logouts and telemetry make little work, so they do not wait behind the requests that they
//! concern: they have a rate and places of their own, and small bodies, which the gate reads before it sends them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request};

use super::body::Content;
use super::buffered::{self, Caps, passed_on};
use super::error_map::no_redirect;
use super::renew::only_renews;
use super::{Worker, headers};
use crate::admit::{Peer, RequestPermit, Weight, key};
use crate::base::fault::{Fault, Kind};
use crate::config::SqlRecord;
use crate::session::authorization;
use crate::snowflake::logout::{has_ended, is_logout};
use crate::snowflake::query_id;
use crate::snowflake::route::{Route, Stream};
use crate::snowflake::sql_text;
use crate::snowflake::token_header;
use crate::telemetry::facts::Statement;
use crate::telemetry::record::{Record, Step};
use crate::upstream::{BodySlot, ClientBody, InFlightPermit, RequestBody};

/// The largest body of a heartbeat, a cancellation, a logout or a renewal. Drivers send some hundred bytes.
const SMALL: usize = 64 << 10;
/// The largest body of telemetry: drivers send a hundred entries at once.
const TELEMETRY: usize = 1 << 20;
/// The largest body of a cancellation, in bytes: Snowflake takes statements up to 1 MB.
const STATEMENT: usize = 2 << 20;

impl Worker {
    pub(super) async fn stream(
        &self,
        peer: &Peer,
        mut head: request::Parts,
        body: &BodySlot,
        route: Route,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        let generation = &self.generation;
        headers::for_snowflake(&mut head.headers);
        generation.admission.arrives_with_request(peer).await?;
        if route == Route::Stream(Stream::Logout) && !is_logout(head.uri.query().unwrap_or_default()) {
            return Err(Fault::new(Kind::RouteUnknown).with_cause("a request to /session that is not one logout"));
        }
        let most = largest(route);
        let weight = if most.is_some() { Weight::Upkeep } else { Weight::Work };
        let mut ends = None;
        let (account, admitted) = match &generation.services.sessions {
            Some(sessions) => {
                let admission = &generation.admission;
                let (ticket, admitted) = sessions.admit(&head.headers, peer, admission, weight, record).await?;
                if route == Route::Stream(Stream::Logout) {
                    ends = Some((sessions, ticket.session));
                }
                head.headers.insert(header::AUTHORIZATION, authorization(&ticket)?);
                (self.account(&ticket.account)?, admitted)
            }
            None => {
                record.note(|facts| facts.account = generation.config.accounts.keys().next().cloned());
                session_token_only(&mut head.headers)?;
                // Only Snowflake can tell whether its token is good.
                peer.admit();
                (self.only_account()?, RequestPermit::default())
            }
        };
        record.step(Step::Admitted);
        record.note(|facts| facts.query_id = query_id::in_path(head.uri.path()));
        head.headers.insert(header::HOST, account.authority().clone());
        head.version = Version::HTTP_11;
        let (body, in_flight) = match most {
            None => {
                let in_flight = account.in_flight(generation.config.limits.delay).await?;
                (RequestBody::Streamed(self.recorded(body.lend(), &head.headers, record)), in_flight)
            }
            Some(most) => {
                let small = self.small(&mut head, body.lend(), most, route).await?;
                (RequestBody::whole(small), InFlightPermit::exempt())
            }
        };
        record.step(Step::Sent);
        let response = account.send(Request::from_parts(head, body), in_flight).await?;
        record.step(Step::Answered);
        no_redirect(&response, account.authority())?;
        let Some((sessions, session)) = ends else {
            return Ok(headers::for_client(response).map(|body| Content::Streamed(body, admitted)));
        };
        // The answer ends a session, not the request.
        let status = response.status();
        let (response, body) = buffered::answer(response).await?;
        if status.is_success() && has_ended(&body) {
            sessions.logged_out(session);
        }
        let mut passed = passed_on(response, body);
        *passed.status_mut() = status;
        Ok(passed)
    }

    /// The body of a statement, with its beginning kept for the record where the client's statements are recorded.
    fn recorded(&self, body: ClientBody, headers: &HeaderMap, record: &mut Record) -> ClientBody {
        let mut wanted = SqlRecord::Off;
        record.note(|facts| {
            let client = facts.client.as_ref().and_then(|client| self.generation.config.clients.get(client));
            let is_statement = facts.route == Route::Stream(Stream::Query);
            wanted = client.filter(|_| is_statement).map_or(SqlRecord::Off, |client| client.sql);
        });
        if wanted == SqlRecord::Off {
            return body;
        }
        let (body, first) = body.keeping(sql_text::KEPT);
        let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        record.note(|facts| facts.statement = Some(Box::new(Statement { first, gzip, wanted })));
        body
    }

    /// Reads a small body whole.
    async fn small(
        &self,
        head: &mut request::Parts,
        body: ClientBody,
        most: usize,
        route: Route,
    ) -> Result<Bytes, Fault> {
        let caps = Caps { body: most, inflated: most, deadline: self.generation.config.login.deadline, budget: None };
        let unread = |why: buffered::Unread| why.fault(Kind::BodyBroken, Kind::TooLarge);
        head.headers.remove(header::EXPECT);
        if route != Route::Renew {
            return buffered::as_sent(body, &caps).await.map_err(unread);
        }
        let text = buffered::request(head, body, &caps).await.map_err(unread)?;
        head.headers.remove(header::CONTENT_ENCODING);
        head.headers.remove(header::CONTENT_LENGTH);
        only_renews(&text)?;
        Ok(text.into())
    }
}

/// The largest body of a request that makes little work; `None` for one that makes more.
fn largest(route: Route) -> Option<usize> {
    match route {
        // Some drivers send the whole statement again with a cancellation (`jdbc:StmtUtil.java`).
        Route::Stream(Stream::Abort) => Some(STATEMENT),
        Route::Stream(Stream::Logout | Stream::Heartbeat) | Route::Renew => Some(SMALL),
        Route::Stream(Stream::Telemetry) => Some(TELEMETRY),
        Route::Stream(Stream::Query | Stream::Result | Stream::Monitoring) => None,
        Route::Login | Route::Rest | Route::Foreign | Route::WrongMethod | Route::Unknown => None,
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
