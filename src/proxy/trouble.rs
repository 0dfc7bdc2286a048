//! What trouble with a store or with Snowflake means to a client.

use http::{Response, StatusCode, Uri, header};

use crate::base::fault::{Fault, Kind};
use crate::base::pins::{NotAllowed, Place};
use crate::secrets::StoreError;
use crate::upstream::Failure;

/// What a failed request means, once it has left our hands.
pub(super) fn failed(failure: Failure) -> Fault {
    match failure {
        Failure::Unsent(cause) | Failure::Broken(cause) => Fault::new(Kind::SnowflakeUnreachable).because(cause),
        Failure::Silent => Fault::new(Kind::SnowflakeSilent).because("no first byte within upstream.first_byte"),
        Failure::ClientStalled => Fault::new(Kind::RequestSlow).because("the client stopped sending its body"),
    }
}

/// A redirect would lead the client past the gate, with a session token in its hand.
pub(super) fn no_redirect<B>(response: &Response<B>) -> Result<(), Fault> {
    let away = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !away.contains(&response.status()) {
        return Ok(());
    }
    let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()?.parse::<Uri>().ok());
    let host = to.and_then(|to| to.host().map(str::to_owned)).unwrap_or_default();
    Err(Fault::new(Kind::SnowflakeGarbled)
        .because(format_args!("a redirect ({}) to host {host:?}", response.status().as_u16())))
}

/// What it means that a client asks for what it may not have.
pub(super) fn not_allowed(what: NotAllowed) -> Fault {
    let asked: String = what.asked.chars().filter(|c| !c.is_control()).take(100).collect();
    match what.place {
        Place::Role => Fault::new(Kind::RoleDenied).detail(asked),
        place => Fault::new(Kind::ContextDenied).detail(format_args!("{} {asked}", place.as_str())),
    }
}

/// What a failed read of a store means to a client.
pub(super) fn store_fault(error: StoreError) -> Fault {
    let kind = match &error {
        StoreError::Unavailable(_) | StoreError::Throttled(..) => Kind::StoreUnavailable,
        StoreError::Refused(_) => Kind::StoreRefused,
        StoreError::Unusable(_) => Kind::SecretUnusable,
    };
    Fault::new(kind).because(error)
}
