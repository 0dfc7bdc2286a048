//! Bodies that the gate reads whole because it changes them: logins, renewals, and their answers.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header, request};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::body::Content;
use super::inflate_budget::InflateBudget;
use super::{headers, json};
use crate::base::fault::{Fault, Kind, chain};
use crate::snowflake::body::{NotInflated, gunzip};
use crate::upstream::{BodySlot, ClientBody, ResponseBody, whole};

/// How much of a refused request's body the gate reads and discards, and for how long.
const AWAY: (usize, Duration) = (64 << 10, Duration::from_secs(1));

/// Reads and discards the rest of a refused request's body, if it is small: otherwise the gate would have to close the
/// connection, and a driver that retries would need a new handshake. A handler that is over has given it back.
pub(super) async fn drain(slot: &BodySlot) {
    let (most, time) = AWAY;
    if !slot.has_ended() {
        let _too_large_or_too_slow = timeout(time, Limited::new(slot.lend(), most).collect()).await;
    }
}

/// Limits on reading a request's body.
pub(super) struct Caps<'a> {
    /// As sent, in bytes.
    pub body: usize,
    /// After inflating, in bytes.
    pub inflated: usize,
    /// How long it may take.
    pub deadline: Duration,
    /// What inflating it is taken from, for a sender that is not admitted.
    pub budget: Option<&'a InflateBudget>,
}

/// Why a request's body cannot be read.
pub(super) enum Unread {
    /// Its form is wrong: the text for the client, and the private cause.
    Malformed(&'static str, String),
    /// It is larger than a cap: the cap in bytes, and its name.
    TooLarge(usize, &'static str),
    /// It did not come in time.
    Slow,
}

impl Unread {
    fn malformed(what: &'static str) -> Self {
        Self::Malformed(what, what.to_owned())
    }

    /// Makes it a fault; `malformed` and `too_large` are the kinds for this sort of request.
    pub(super) fn fault(self, malformed: Kind, too_large: Kind) -> Fault {
        match self {
            Self::Malformed(what, cause) => Fault::new(malformed).detail(what).with_cause(cause),
            Self::TooLarge(cap, which) => Fault::new(too_large).detail(bytes(cap)).with_cause(which),
            Self::Slow => Fault::new(Kind::RequestSlow).with_cause("the deadline login.deadline has passed"),
        }
    }
}

fn bytes(count: usize) -> impl fmt::Display {
    format!("{count} bytes")
}

/// Reads a request's body up to its caps, inflated.
pub(super) async fn request(head: &request::Parts, body: ClientBody, caps: &Caps<'_>) -> Result<Vec<u8>, Unread> {
    let gzip = is_gzip(&head.headers)?;
    let sent = as_sent(body, caps).await?;
    if !gzip {
        return Ok(sent.into());
    }
    let turn = match caps.budget {
        Some(budget) => Some(budget.turn().await),
        None => None,
    };
    let inflated = gunzip(&sent, caps.inflated);
    if let Some(turn) = turn {
        // What fails may have cost as much as what is too large.
        turn.took(inflated.as_ref().map_or(caps.inflated, Vec::len));
    }
    inflated.map_err(|why| match why {
        NotInflated::Damaged => Unread::malformed("its gzip is damaged"),
        NotInflated::Members => Unread::malformed("its gzip has too many parts"),
        NotInflated::TooLarge => Unread::TooLarge(caps.inflated, "after inflating"),
    })
}

/// The beginning of a body.
pub(super) enum Begun {
    /// It is the whole body.
    Whole(Bytes),
    /// It is larger than the cap: the beginning, and the rest.
    Part(Bytes, ClientBody),
}

/// Reads the beginning of a request's body, as it was sent, up to its cap or a little more.
pub(super) async fn begin(mut body: ClientBody, caps: &Caps<'_>) -> Result<Begun, Unread> {
    let read = async {
        let mut begun = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|broken| Unread::Malformed("it is incomplete", chain(&broken)))?;
            // Trailers describe the connection, and no driver sends any.
            begun.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if begun.len() > caps.body {
                return Ok(Begun::Part(begun.freeze(), body));
            }
        }
        Ok(Begun::Whole(begun.freeze()))
    };
    timeout(caps.deadline, read).await.map_err(|_late| Unread::Slow)?
}

/// Reads a request's body up to its cap, as it was sent.
pub(super) async fn as_sent(body: ClientBody, caps: &Caps<'_>) -> Result<Bytes, Unread> {
    let read = timeout(caps.deadline, Limited::new(body, caps.body).collect()).await;
    let read = read.map_err(|_late| Unread::Slow)?;
    let sent = read.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => Unread::Malformed("it is incomplete", chain(&*broken)),
        Err(_limit) => Unread::TooLarge(caps.body, "as sent"),
    })?;
    Ok(sent.to_bytes())
}

/// Reads a whole answer, up to a cap.
pub(super) async fn answer(response: Response<ResponseBody>) -> Result<(Response<()>, Bytes), Fault> {
    let garbled = |not_read| Fault::new(Kind::SnowflakeGarbled).with_cause(not_read);
    let (mut head, body) = whole(response).await.map_err(garbled)?;
    // hyper writes the length of what is sent.
    head.headers_mut().remove(header::CONTENT_LENGTH);
    Ok((head, body))
}

/// Snowflake's answer with the body that the client may see: Snowflake's headers, the gate's framing. The status is
/// always 200, because drivers show the text of a refusal only then.
pub(super) fn passed_on(response: Response<()>, body: Bytes) -> Response<Content> {
    let (mut head, ()) = headers::for_client(response).into_parts();
    head.status = http::StatusCode::OK;
    let ours = json(body);
    head.headers.insert(header::CONTENT_TYPE, ours.headers()[header::CONTENT_TYPE].clone());
    Response::from_parts(head, ours.into_body())
}

/// Whether a body is gzip. Names of encodings are case-insensitive (RFC 9110, section 8.4.1).
fn is_gzip(headers: &HeaderMap) -> Result<bool, Unread> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, None) = (encodings.next(), encodings.next()) else {
        return Err(Unread::malformed("it has more than one Content-Encoding"));
    };
    let named = |name: &str| first.is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    match first {
        None => Ok(false),
        Some(_) if named("") || named("identity") => Ok(false),
        Some(_) if named("gzip") || named("x-gzip") => Ok(true),
        Some(_) => Err(Unread::malformed("its Content-Encoding is neither gzip nor identity")),
    }
}
