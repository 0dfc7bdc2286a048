//! Headers on their way through the gate: it removes those of one hop and passes all others on unchanged.

use http::{HeaderMap, HeaderName, HeaderValue, Response, Version, header};

use crate::admit::key;
use crate::base::secret::Secret;

/// Headers of one connection (RFC 9110, section 7.6.1), and of forward proxies.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

/// Prepares the head of Snowflake's answer for the client: its headers, the gate's framing.
pub(super) fn for_client<B>(mut response: Response<B>) -> Response<B> {
    strip_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Removes the headers of one hop: the fixed list, and those that `Connection` names.
pub(super) fn strip_hop(headers: &mut HeaderMap) {
    if let Some(connection) = headers.get(header::CONNECTION) {
        // Nearly always "keep-alive" or "close", which name no other header.
        let plain =
            ["keep-alive", "close"].iter().any(|word| connection.as_bytes().eq_ignore_ascii_case(word.as_bytes()));
        if !plain || headers.get_all(header::CONNECTION).iter().nth(1).is_some() {
            strip_named(headers);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The headers of a request whose body the gate writes: the client's, without those that describe the client's body.
/// They ask for neither a compressed answer nor an interim one.
pub(super) fn for_whole_body(sent: &HeaderMap, authority: &HeaderValue) -> HeaderMap {
    let mut headers = sent.clone();
    strip_hop(&mut headers);
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

    #[test]
    fn one_hop_s_headers_stay_and_unknown_ones_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Keep-Alive, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("x-snowflake-session", "sticky"),
            ("client_app_id", ""),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["client_app_id", "x-snowflake-session"]);
    }
}
