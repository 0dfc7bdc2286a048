//! The route of a request: a closed list. The gate refuses all other requests.

use http::Method;

/// The path of logins.
pub const LOGIN: &str = "/session/v1/login-request";
/// The path and query of a logout.
pub const LOGOUT: &str = "/session?delete=true";

/// What the gate does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `POST /session/v1/login-request`: the gate rewrites its body.
    Login,
    /// `POST /session/token-request`: renewal by the master token.
    Renew,
    /// A query, its result, its cancellation, a heartbeat, a logout, telemetry: streamed both ways.
    Stream(Stream),
    /// `/api/v2/…`: the SQL API and its sisters, with a bearer token in each request.
    Rest,
    /// Single sign-on, OAuth and console flows, which the gate cannot support, because it injects the credential.
    Foreign,
    /// A driver's path with a method that no driver uses there.
    WrongMethod,
    /// Anything else.
    Unknown,
}

/// The kinds of streamed request, for records and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `POST /queries/v1/query-request`.
    Query,
    /// `GET /queries/{id}/result` and the long polls on it.
    Result,
    /// `POST /queries/v1/abort-request`, `POST /queries/{id}/abort-request`.
    Abort,
    /// `GET /monitoring/queries/{id}`.
    Monitoring,
    /// `POST /session/heartbeat`.
    Heartbeat,
    /// `POST /session?delete=true`.
    Logout,
    /// `POST /telemetry/send`.
    Telemetry,
}

impl Route {
    /// Finds the route. It compares the raw path: an encoded or doubled slash makes another path, which the gate
    /// refuses.
    pub fn of(method: &Method, path: &str) -> Self {
        let only = |wanted: &Method, route: Self| if method == wanted { route } else { Self::WrongMethod };
        match path {
            "/queries/v1/query-request" => only(&Method::POST, Self::Stream(Stream::Query)),
            LOGIN => only(&Method::POST, Self::Login),
            "/session/token-request" => only(&Method::POST, Self::Renew),
            "/session/heartbeat" => only(&Method::POST, Self::Stream(Stream::Heartbeat)),
            "/session" => only(&Method::POST, Self::Stream(Stream::Logout)),
            "/telemetry/send" => only(&Method::POST, Self::Stream(Stream::Telemetry)),
            "/queries/v1/abort-request" => only(&Method::POST, Self::Stream(Stream::Abort)),
            "/session/authenticator-request" | "/console/login" => Self::Foreign,
            _ => Self::of_deeper(method, path),
        }
    }

    fn of_deeper(method: &Method, path: &str) -> Self {
        let only = |wanted: &Method, stream| {
            if method == wanted { Self::Stream(stream) } else { Self::WrongMethod }
        };
        if path.starts_with("/oauth/") {
            return Self::Foreign;
        }
        if let Some(id) = path.strip_prefix("/monitoring/queries/") {
            return if is_id(id) { only(&Method::GET, Stream::Monitoring) } else { Self::Unknown };
        }
        if let Some(rest) = path.strip_prefix("/queries/") {
            return match rest.split_once('/') {
                Some((id, "result")) if is_id(id) => only(&Method::GET, Stream::Result),
                Some((id, "abort-request")) if is_id(id) => only(&Method::POST, Stream::Abort),
                _ => Self::Unknown,
            };
        }
        match path.strip_prefix("/api/v2/") {
            Some(rest) if !is_clean(rest) => Self::Unknown,
            Some(_) if [Method::GET, Method::POST, Method::PUT, Method::DELETE].contains(method) => Self::Rest,
            Some(_) => Self::WrongMethod,
            None => Self::Unknown,
        }
    }

    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Renew => "renew",
            Self::Stream(Stream::Query) => "query",
            Self::Stream(Stream::Result) => "result",
            Self::Stream(Stream::Abort) => "abort",
            Self::Stream(Stream::Monitoring) => "monitoring",
            Self::Stream(Stream::Heartbeat) => "heartbeat",
            Self::Stream(Stream::Logout) => "logout",
            Self::Stream(Stream::Telemetry) => "telemetry",
            Self::Rest => "rest",
            Self::Foreign => "foreign",
            Self::WrongMethod | Self::Unknown => "unknown",
        }
    }
}

/// Whether two readers must understand a path in the same way: no empty segment except the last, no segment of dots, no
/// parameters, and no escape of an unreserved character or a separator.
fn is_clean(path: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let allowed = |b: u8| unreserved(b) || b"%:,=@!$&'()*+".contains(&b);
    let hex = |digit: Option<u8>| char::from(digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let hidden = path.match_indices('%').any(|(at, _)| {
        let mut digits = path.bytes().skip(at + 1);
        let escaped = hex(digits.next()).zip(hex(digits.next())).map(|(high, low)| high << 4 | low);
        escaped.is_none_or(|byte| unreserved(byte) || byte < 0x20 || b"/\\;".contains(&byte))
    });
    let mut segments = path.split('/').rev();
    let last = segments.next().unwrap_or_default();
    let whole = |segment: &str| segment.bytes().all(allowed) && segment != "." && segment != "..";
    !path.is_empty() && !hidden && whole(last) && segments.all(|segment| !segment.is_empty() && whole(segment))
}

/// Whether a path segment has only characters of query ids and statement handles.
fn is_id(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_paths_have_names() {
        for (method, path, name) in [
            (Method::POST, "/session/v1/login-request", "login"),
            (Method::POST, "/session/token-request", "renew"),
            (Method::POST, "/queries/v1/query-request", "query"),
            (Method::GET, "/queries/01b2-ab/result", "result"),
            (Method::POST, "/queries/01b2-ab/abort-request", "abort"),
            (Method::POST, "/queries/v1/abort-request", "abort"),
            (Method::GET, "/monitoring/queries/01b2-ab", "monitoring"),
            (Method::POST, "/session/heartbeat", "heartbeat"),
            (Method::POST, "/session", "logout"),
            (Method::POST, "/telemetry/send", "telemetry"),
            (Method::POST, "/api/v2/statements", "rest"),
            (Method::POST, "/api/v2/statements/", "rest"),
            (Method::GET, "/api/v2/statements/01b2-ab", "rest"),
            (Method::POST, "/api/v2/statements/01b2-ab/cancel", "rest"),
            (Method::GET, "/api/v2/databases/DB%20x/schemas", "rest"),
            (Method::DELETE, "/api/v2/warehouses/W:suspend", "rest"),
            (Method::POST, "/session/authenticator-request", "foreign"),
            (Method::GET, "/console/login", "foreign"),
            (Method::POST, "/oauth/token-request", "foreign"),
        ] {
            assert_eq!(Route::of(&method, path).as_str(), name, "{path}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for path in [
            "/",
            "",
            "*",
            "/session/",
            "/session/v1/login-request/",
            "/session/v1/Login-Request",
            "//session",
            "/queries/../session/v1/login-request",
            "/queries/a/b/result",
            "/queries//result",
            "/queries/x%2fy/result",
            "/api/v2/statementsé",
            "/api/v2",
            "/api/v2/",
            "/api/v2//statements",
            "/api/v2/statements/../../x",
            "/api/v2/a%2Fb",
            "/api/v2/%2e%2e/session",
            "/api/v2/..;/session",
            "/api/v2/statements;x",
            "/api/v2/%73tatements",
            "/api/v2/%3Bx",
            "/api/v2/x%",
            "/api/v2/x%2",
            "/api/v2/x%0a",
            "/api/v1/statements",
            "/monitoring/queries/",
            "/oauth",
        ] {
            assert_eq!(Route::of(&Method::POST, path), Route::Unknown, "{path}");
        }
        assert_eq!(Route::of(&Method::GET, "/session/v1/login-request"), Route::WrongMethod);
        assert_eq!(Route::of(&Method::TRACE, "/api/v2/statements"), Route::WrongMethod);
    }
}
