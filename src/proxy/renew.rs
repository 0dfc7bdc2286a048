//! The renewal of a sealed session: the gate unseals the tickets, sends the tokens to Snowflake, and seals new tickets.
//!
//! One driver sends its renewal once and drops the session on any answer but 200 ([`crate::snowflake::renewal`]), so
//! the gate retries for as long as it would hold a login.

use bytes::Bytes;
use http::{Method, Request, Response, header, request};

use super::body::Content;
use super::buffered::{self, Caps, passed_on};
use super::error_map::{is_unready, redirect};
use super::{Worker, headers};
use crate::admit::Peer;
use crate::base::fault::{Fault, Kind};
use crate::session::{Sessions, authorization};
use crate::snowflake::answer::{RenewalAnswer, with_trace};
use crate::snowflake::renewal::Renewal;
use crate::telemetry::record::{Record, Step};
use crate::ticket::{Ticket, TokenKind};
use crate::upstream::{BodySlot, Failure, Held, InFlightPermit, RequestBody};

/// The largest renewal. It has two tokens and one word; ten times that is still small.
const BODY: usize = 16 << 10;
const INFLATED: usize = 64 << 10;

impl Worker {
    pub(super) async fn renew(
        &self,
        peer: &Peer,
        head: request::Parts,
        body: &BodySlot,
        sessions: &Sessions,
        record: &mut Record,
    ) -> Result<Response<Content>, Fault> {
        let generation = &self.generation;
        generation.admission.arrives_with_request(peer).await?;
        let master = sessions.in_header(&head.headers, TokenKind::Master, record).await?;
        let count = generation.admission.session(peer, &master)?;
        let _place = generation.admission.upkeep(&master).await?;
        let caps = Caps { body: BODY, inflated: INFLATED, deadline: generation.config.login.deadline, budget: None };
        let unread = |why: buffered::Unread| why.fault(Kind::RenewalMalformed, Kind::TooLarge);
        let body = buffered::request(&head, body.lend(), &caps).await.map_err(unread)?;
        record.step(Step::Received);
        only_renews(&body)?;
        let mut renewal = Renewal::parse(&body).ok_or_else(|| malformed("it is not a JSON object"))?;
        let old = renewal.old().ok_or_else(|| malformed("it has no oldSessionToken"))?;
        let old = sessions.unseal(old.expose(), TokenKind::Session).await?;
        if old.session != master.session {
            return Err(Fault::new(Kind::SessionUnknown).with_cause("its two tokens belong to different sessions"));
        }
        record.step(Step::Admitted);
        let (response, body) = self.renew_upstream(&head, &renewal.write(&old.token), &master, record).await?;
        let body = match RenewalAnswer::read(&body) {
            Some(RenewalAnswer::Success(granted)) => {
                sessions.seen(&master, peer.ip, count);
                sessions.seal_renewal(granted, &master)?.into()
            }
            // The driver understands Snowflake's own code here.
            Some(RenewalAnswer::Refused(said)) => {
                record.refused(Kind::RenewalRefused, said);
                with_trace(&body, record.trace()).map_or(body, Into::into)
            }
            None => return Err(Fault::new(Kind::SnowflakeGarbled).with_cause("the answer is not one to a renewal")),
        };
        Ok(passed_on(response, body))
    }

    /// Sends a renewal until Snowflake answers it, or until the hold ends.
    async fn renew_upstream(
        &self,
        head: &request::Parts,
        body: &str,
        master: &Ticket,
        record: &mut Record,
    ) -> Result<(Response<()>, Bytes), Fault> {
        let account = self.account(&master.account)?;
        let mut tries = account.hold(Held::Renewal, self.generation.config.login.hold);
        loop {
            let mut request = Request::new(RequestBody::whole(body.to_owned()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = head.uri.clone();
            *request.headers_mut() = headers::for_whole_body(&head.headers, account.authority());
            request.headers_mut().insert(header::AUTHORIZATION, authorization(master)?);
            record.step(Step::Sent);
            let connect = tries.begin();
            let failure = match account.send_held(request, InFlightPermit::exempt(), None, connect).await {
                Ok(response) => {
                    record.step(Step::Answered);
                    let status = response.status();
                    match redirect(&response, account.authority())? {
                        Some(cause) => Failure::Unready(cause),
                        None if is_unready(status) => {
                            Failure::Unready(format!("HTTP {} to a renewal", status.as_u16()))
                        }
                        None => return buffered::answer(response).await,
                    }
                }
                Err(failure) => failure,
            };
            record.again(failure.kind());
            tries.again(failure, record.trace()).await?;
        }
    }
}

/// Refuses a body that asks for something else than a renewal.
pub(super) fn only_renews(body: &[u8]) -> Result<(), Fault> {
    let renewal = Renewal::parse(body).ok_or_else(|| malformed("it is not a JSON object"))?;
    if renewal.only_renews() { Ok(()) } else { Err(malformed("its requestType is not RENEW alone")) }
}

fn malformed(what: &'static str) -> Fault {
    Fault::new(Kind::RenewalMalformed).detail(what).with_cause(what)
}
