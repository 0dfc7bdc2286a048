//! Headers on their way through the gate: those that drivers send and need pass, and no others.
//!
//! The lists come from the drivers' sources and from what real drivers sent. What is on neither list could mean
//! something to Snowflake, or to a proxy on the way there, that the gate does not know: another method, a cookie, the
//! address of somebody else. From there to the client it could set a cookie for the gate's name, or lead past the gate.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use crate::admit::key;
use crate::base::secret::Secret;

/// The headers of a request that pass to Snowflake. The gate sets `Host` and `Authorization` itself.
///
/// `client_app_id` and `client_app_version` are at login and renewal (`go:auth.go`, `jdbc:SessionUtil.java`,
/// `node:lib/services/sf.js`, `c:lib/client_int.h`), `x-snowflake-service` routes by a session parameter
/// (`py:network.py`, `jdbc`, `go`), and JDBC sends `x-snowflake-session` back as it got it. The context and the kind of
/// token are headers of the REST APIs; there the gate sets the kind, and the context where it is pinned.
fn is_for_snowflake(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "authorization"
            | "client_app_id"
            | "client_app_version"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "expect"
            | "host"
            | "traceparent"
            | "tracestate"
            | "user-agent"
            | "x-snowflake-authorization-token-type"
            | "x-snowflake-database"
            | "x-snowflake-role"
            | "x-snowflake-schema"
            | "x-snowflake-service"
            | "x-snowflake-session"
            | "x-snowflake-warehouse"
    )
}

/// The headers of an answer that pass to the client. `link` has the partitions of a statement's result (`docs`
/// "Handling responses"); the gate's own trace is not Snowflake's to set.
fn is_for_client(name: &str) -> bool {
    matches!(
        name,
        "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "date"
            | "etag"
            | "expires"
            | "last-modified"
            | "link"
            | "retry-after"
            | "traceparent"
            | "tracestate"
            | "vary"
            | "x-snowflake-session"
    )
}

/// Prepares the head of Snowflake's answer for the client: its headers, the gate's framing.
///
/// `location` passes as a path, with a status that creates or accepts: a REST client polls there (`docs` "Snowflake
/// REST APIs"). A redirect never passes.
pub(super) fn for_client<B>(mut response: Response<B>) -> Response<B> {
    let polls = [StatusCode::CREATED, StatusCode::ACCEPTED].contains(&response.status());
    let path = |to: &HeaderValue| to.as_bytes().starts_with(b"/") && !to.as_bytes().starts_with(b"//");
    let location = response.headers().get(header::LOCATION).filter(|to| polls && path(to)).cloned();
    keep(response.headers_mut(), is_for_client);
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Removes from a request what does not pass to Snowflake.
pub(super) fn for_snowflake(headers: &mut HeaderMap) {
    keep(headers, is_for_snowflake);
}

/// Removes all but these headers, and also those of them that `Connection` names: they are for one hop (RFC 9110,
/// section 7.6.1).
fn keep(headers: &mut HeaderMap, passes: fn(&str) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        strip_named(headers);
    }
    // Mostly none, or one.
    while let Some(name) = headers.keys().find(|name| !passes(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// The headers of a request whose body the gate writes: the client's, without those that describe the client's body.
/// They ask for neither a compressed answer nor an interim one.
pub(super) fn for_whole_body(sent: &HeaderMap, authority: &HeaderValue) -> HeaderMap {
    let mut headers = sent.clone();
    for_snowflake(&mut headers);
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    headers.insert(header::HOST, authority.clone());
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// Whether a request has the client key in a second place. What a client without a key sends as a key is not a secret
/// of the gate.
pub(super) fn hold(headers: &HeaderMap, target: &str, body: &[u8], presented: &Secret) -> bool {
    let presented = presented.expose().as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(presented.len()).any(|part| part == presented);
    presented.starts_with(key::PREFIX.as_bytes())
        && (holds(body) || holds(target.as_bytes()) || headers.values().any(|value| holds(value.as_bytes())))
}

fn strip_named(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for name in lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
        if let Ok(name) = HeaderName::try_from(name.trim()) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(headers: &HeaderMap) -> Vec<&str> {
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn what_drivers_send_passes_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Keep-Alive, X-Snowflake-Service"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "a=b"),
            ("dpop", "x"),
            ("forwarded", "for=1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil.test"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/"),
            ("x-snowflake-external-session-id", "1"),
            ("x-snowflake-service", "hop"),
            ("x-snowflake-session", "sticky"),
            ("accept-encoding", ""),
            ("client_app_id", ""),
            ("user-agent", "Go/1"),
            ("traceparent", "00-1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        for_snowflake(&mut headers);
        let passed = ["accept-encoding", "client_app_id", "traceparent", "user-agent", "x-snowflake-session"];
        assert_eq!(left(&headers), passed);
    }

    #[test]
    fn what_drivers_need_comes_back_and_nothing_else() {
        let mut response = Response::new(());
        for (name, value) in [
            ("set-cookie", "a=b; Domain=x"),
            ("set-cookie", "c=d"),
            ("alt-svc", "h3=\":443\""),
            ("location", "https://elsewhere.test"),
            ("strict-transport-security", "max-age=1"),
            ("www-authenticate", "Basic"),
            ("x-patgate-trace", "forged"),
            ("server", "x"),
            ("content-type", "application/json"),
            ("link", "</api/v2/statements/1?partition=1>; rel=\"next\""),
            ("retry-after", "1"),
            ("x-snowflake-session", "sticky"),
        ] {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let response = for_client(response);
        assert_eq!(left(response.headers()), ["content-type", "link", "retry-after", "x-snowflake-session"]);
    }
}
