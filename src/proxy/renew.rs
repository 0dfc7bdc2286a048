//! The renewal of a sealed session: tickets in, tokens to Snowflake, new tickets out.
//!
//! One driver sends its renewal once and gives the session up at any answer but 200 (protocol facts 2.1), so the gate itself
//! tries again for as long as it would hold a login. What may have been carried out is sent once more and no oftener.

use http::{Method, Request, Response, StatusCode, header, request};
use tokio::time::Instant;

use super::pat::PAUSE;
use super::read::{self, Caps, Untouched, passed_on};
use super::sealing::{Sealing, token_header};
use super::trouble::{failed, no_redirect};
use super::{AnswerBody, Peer, Worker, headers};
use crate::base::fault::{Fault, Kind};
use crate::session::{Ticket, Use};
use crate::snowflake::answer::RenewalAnswer;
use crate::snowflake::renewal::Renewal;
use crate::telemetry::record::Record;
use crate::upstream::{Failure, RequestBody};

/// A renewal holds two tokens and a word; ten times that is still small.
const BODY: usize = 16 << 10;
const INFLATED: usize = 64 << 10;

impl Worker {
    pub(super) async fn renew(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &mut Untouched,
        sealing: &Sealing,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Fault> {
        self.gate.admission.arrives_with_request(peer).await?;
        let master = sealing.header(&head.headers, Use::Master).await?;
        record.client = Some(master.client.to_string());
        let count = self.gate.admission.session(peer, &master)?;
        let caps = Caps { body: BODY, inflated: INFLATED, deadline: self.gate.config.login.deadline };
        let unread = |why: read::Unread| why.fault(Kind::RenewalMalformed, Kind::TooLarge);
        let body = read::request(&head, body.take()?, &caps).await.map_err(unread)?;
        let malformed = |what: &'static str| Fault::new(Kind::RenewalMalformed).detail(what).because(what);
        let mut renewal = Renewal::parse(&body).ok_or_else(|| malformed("it is not a JSON object"))?;
        let old = renewal.old().ok_or_else(|| malformed("it has no oldSessionToken"))?;
        let old = sealing.open(old.expose(), Use::Session).await?;
        if old.session != master.session {
            return Err(Fault::new(Kind::SessionUnknown).because("its two tokens are of two sessions"));
        }
        let (response, body) = self.renew_upstream(&head, &renewal.write(&old.token), &master).await?;
        let body = match RenewalAnswer::read(&body) {
            Some(RenewalAnswer::Success(granted)) => {
                sealing.sessions.seen(&master, peer.ip, sealing.clock.now(), count);
                sealing.renewal(granted, &master)?.into()
            }
            // The driver understands what Snowflake says here.
            Some(RenewalAnswer::Refused { code }) => {
                tracing::info!(trace = %record.trace, client = record.client, code, "Snowflake refused a renewal");
                body
            }
            None => return Err(Fault::new(Kind::SnowflakeGarbled).because("no answer to a renewal in it")),
        };
        record.streamed(StatusCode::OK.as_u16());
        Ok(passed_on(response, body))
    }

    /// Sends a renewal until Snowflake has answered it, or the hold is over.
    async fn renew_upstream(
        &self,
        head: &request::Parts,
        body: &str,
        master: &Ticket,
    ) -> Result<(Response<()>, bytes::Bytes), Fault> {
        let lanes = self.lanes(&master.account)?;
        let (started, hold) = (Instant::now(), self.gate.config.login.hold);
        let mut broken = 0;
        loop {
            let mut request = Request::new(RequestBody::whole(body.to_owned()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = head.uri.clone();
            *request.headers_mut() = headers::for_whole_body(&head.headers, &lanes.authority);
            request.headers_mut().insert(header::AUTHORIZATION, token_header(&master.token)?);
            let fault = match lanes.send(request).await {
                Ok(response) => {
                    no_redirect(&response)?;
                    let status = response.status();
                    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                    if !later && !status.is_server_error() {
                        return read::answer(response).await;
                    }
                    Fault::new(Kind::SnowflakeBusy).because(format_args!("HTTP {} to a renewal", status.as_u16()))
                }
                Err(failure @ Failure::Unsent(_)) => failed(failure),
                Err(failure) => {
                    broken += 1;
                    failed(failure)
                }
            };
            if broken > 1 || started.elapsed() + PAUSE >= hold {
                return Err(fault);
            }
            tracing::debug!(cause = fault.cause(), "a renewal waits for Snowflake");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
