//! Faults for an answer that redirects, and for a request for something that the client may not use.

use http::{Response, StatusCode, Uri, header};

use crate::base::fault::{Fault, Kind};
use crate::base::pins::{ContextField, NotAllowed};

/// Refuses a redirect: the client would follow it past the gate, with a session token.
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
        .with_cause(format_args!("a redirect ({}) to host {host:?}", response.status().as_u16())))
}

/// Whether a status says that the same request may succeed soon.
pub(super) fn is_unready(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// The fault for a client that asks for something it may not use.
pub(super) fn not_allowed(what: NotAllowed) -> Fault {
    let asked: String = what.asked.chars().filter(|c| !c.is_control()).take(100).collect();
    match what.place {
        ContextField::Role => Fault::new(Kind::RoleDenied).detail(asked),
        place => Fault::new(Kind::ContextDenied).detail(format_args!("{} {asked}", place.as_str())),
    }
}
