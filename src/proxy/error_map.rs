//! Faults for an answer that redirects, and for a request for something that the client may not use.

use http::{HeaderValue, Response, StatusCode, Uri, header};

use crate::base::fault::{Fault, Kind};
use crate::base::pins::{ContextField, NotAllowed};

/// Refuses a redirect to another host: the client would follow it past the gate, with a session token. One to the
/// account's own host passes: Snowflake sends some while it moves a service, and drivers try again
/// (connector-python #2128, gosnowflake #2311). `Some` says that, with the cause.
pub(super) fn redirect<B>(response: &Response<B>, authority: &HeaderValue) -> Result<Option<String>, Fault> {
    let away = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let status = response.status();
    if !away.contains(&status) {
        return Ok(None);
    }
    let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
    // Two slashes begin a host (RFC 3986, section 4.2), which the parser of request targets does not know.
    let to = to.filter(|to| !to.starts_with("//")).and_then(|to| to.parse::<Uri>().ok());
    let cause = |host: &str| format!("a redirect ({}) to host {host:?}", status.as_u16());
    let Some(to) = to else { return Err(Fault::new(Kind::RedirectAway).with_cause(cause(""))) };
    let host = |authority: &str| {
        let port = authority.strip_suffix(":443").unwrap_or(authority);
        port.to_ascii_lowercase()
    };
    match to.authority() {
        None => Ok(Some(cause("the account's own"))),
        Some(named) if authority.to_str().is_ok_and(|own| host(own) == host(named.as_str())) => {
            Ok(Some(cause("the account's own")))
        }
        Some(named) => Err(Fault::new(Kind::RedirectAway).with_cause(cause(named.host()))),
    }
}

/// The same for a REST request: after other redirects than these two, the request has been carried out, or is another
/// one (RFC 9110, section 15.4).
pub(super) fn rest_redirect<B>(response: &Response<B>, authority: &HeaderValue) -> Result<Option<String>, Fault> {
    let repeats = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&response.status());
    match redirect(response, authority)? {
        Some(cause) if !repeats => Err(Fault::new(Kind::SnowflakeGarbled).with_cause(cause)),
        passing => Ok(passing),
    }
}

/// The same, for a request that the gate cannot send again: its driver can.
pub(super) fn no_redirect<B>(response: &Response<B>, authority: &HeaderValue) -> Result<(), Fault> {
    match redirect(response, authority)? {
        Some(cause) => Err(Fault::new(Kind::SnowflakeBusy).with_cause(cause)),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_the_account_s_own_host_passes_and_no_other() {
        let own = HeaderValue::from_static("acct.snowflakecomputing.com");
        let to = |location: &str| {
            let response = Response::builder().status(307).header("location", location).body(()).unwrap();
            redirect(&response, &own).map(|cause| cause.is_some()).map_err(|fault| fault.kind())
        };
        for location in ["/session/v1/login-request", "https://ACCT.snowflakecomputing.com:443/x"] {
            assert_eq!(to(location), Ok(true), "{location}");
        }
        for location in
            ["https://elsewhere.test/", "https://acct.snowflakecomputing.com.evil.test/", "//evil.test/", ""]
        {
            assert_eq!(to(location), Err(Kind::RedirectAway), "{location}");
        }
        assert!(redirect(&Response::new(()), &own).unwrap().is_none());
    }
}
