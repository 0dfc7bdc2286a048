//! The console: one page for a browser, and who may see data with it.
//!
//! The page and its assets hold no data, so that everybody may load them. Data and verbs are for whom the operator's
//! commands are: by the owner of the connection, or by a token that `patgate console` prints, so that a browser over a
//! forwarded port works too. The page exchanges the token, once, for a cookie that lasts eight hours and that no other
//! site's request carries (`SameSite=Strict`).
//!
//! A request that another site's page made is refused in any case: its `Origin` is not this address, or its
//! `Sec-Fetch-Site` says so, or its `Host` is not this machine (a name that was bound again).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use parking_lot::Mutex;

use crate::base::clock::{Env, NoEntropy};
use crate::base::names::is_this_machine;

/// How long a token may be exchanged.
const TOKEN: Duration = Duration::from_secs(600);
/// How long the page may be used then.
const COOKIE: Duration = Duration::from_secs(8 * 3_600);
/// How many tokens and cookies there may be; the oldest goes.
const MOST: usize = 32;
/// The cookie's name. Ports of one host share their cookies.
const NAME: &str = "patgate_console=";
/// What a browser may do with the page: nothing but load these files and ask this address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The header in which the page sends the token; no other site's page can send it unasked.
pub(super) const TOKEN_HEADER: &str = "x-patgate-token";
/// Where it sends it.
pub(super) const LOGIN: &str = "/console/login";

/// A file of the page.
pub(super) struct Asset {
    /// Its media type.
    pub kind: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The file at a path.
pub(super) fn asset(method: &Method, path: &str) -> Option<Asset> {
    let asset = |kind, text| Some(Asset { kind, text }).filter(|_| method == Method::GET || method == Method::HEAD);
    match path {
        "/" | "/console" => asset("text/html; charset=utf-8", include_str!("page.html")),
        "/console/page.js" => asset("text/javascript; charset=utf-8", include_str!("page.js")),
        "/console/icon.svg" => asset("image/svg+xml", include_str!("icon.svg")),
        "/console/page.css" => asset("text/css; charset=utf-8", include_str!("page.css")),
        _ => None,
    }
}

/// Adds what every file of the page carries.
pub(super) fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Who made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// A program on this machine.
    Program,
    /// The console's own page, or a person who typed its address.
    Console,
    /// Another site's page.
    Foreign,
}

/// Who made it. A program sends one `Host` of this machine, or none.
pub(super) fn maker<B>(request: &Request<B>) -> Maker {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    let named = first.map(HeaderValue::as_bytes).filter(|host| !host.is_empty());
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    if more || named.into_iter().chain(target).any(|host| !is_this_machine(host)) {
        return Maker::Foreign;
    }
    let own = first.and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}"));
    match (headers.contains_key(header::ORIGIN), text("sec-fetch-site")) {
        (true, _) if own.is_none() || text("origin") != own.as_deref() => Maker::Foreign,
        (_, Some("same-origin" | "none")) | (true, None) => Maker::Console,
        (_, Some(_)) => Maker::Foreign,
        (false, None) => Maker::Program,
    }
}

/// The tokens and cookies that are good now, by their hashes.
pub(super) struct Passes {
    env: Env,
    all: Mutex<HashMap<[u8; 32], Pass>>,
}

struct Pass {
    until: Instant,
    is_cookie: bool,
}

impl Passes {
    pub(super) fn new(env: Env) -> Self {
        Self { env, all: Mutex::default() }
    }

    /// A new token, for the command.
    ///
    /// # Errors
    /// Without randomness.
    pub(super) fn token(&self) -> Result<String, NoEntropy> {
        self.add(TOKEN, false)
    }

    /// Exchanges a token for the cookie's header; `None` if the token is not good, or was used.
    pub(super) fn exchange(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let token = headers.get(TOKEN_HEADER)?.to_str().ok()?;
        let now = self.env.clock.now();
        let used = self.all.lock().remove(&hash(token))?;
        if used.is_cookie || used.until <= now {
            return None;
        }
        let value = self.add(COOKIE, true).ok()?;
        let seconds = COOKIE.as_secs();
        format!("{NAME}{value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}").parse().ok()
    }

    /// Whether a request carries a good cookie.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let now = self.env.clock.now();
        let all = self.all.lock();
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let values = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|one| one.trim().strip_prefix(NAME));
        values.into_iter().any(|value| all.get(&hash(value)).is_some_and(|pass| pass.is_cookie && pass.until > now))
    }

    fn add(&self, lasts: Duration, is_cookie: bool) -> Result<String, NoEntropy> {
        let mut bytes = [0; 24];
        self.env.random.fill(&mut bytes)?;
        let (value, now) = (hex::encode(bytes), self.env.clock.now());
        let mut all = self.all.lock();
        all.retain(|_, pass| pass.until > now);
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, pass)| pass.until).map(|(hash, _)| *hash)
        {
            all.remove(&oldest);
        }
        all.insert(hash(&value), Pass { until: now + lasts, is_cookie });
        Ok(value)
    }
}

fn hash(value: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, value.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::{ManualClock, SystemRandom};

    fn made(headers: &[(&str, &str)]) -> Maker {
        let mut request = Request::get("/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        maker(&request.body(()).unwrap())
    }

    #[test]
    fn programs_and_the_own_page_are_told_from_pages_of_other_sites() {
        let host = ("host", "127.0.0.1:8444");
        assert_eq!(made(&[]), Maker::Program);
        assert_eq!(made(&[host]), Maker::Program);
        assert_eq!(
            made(&[("host", "localhost:9000"), ("origin", "http://localhost:9000")]),
            Maker::Console,
            "forwarded"
        );
        assert_eq!(made(&[host, ("sec-fetch-site", "same-origin")]), Maker::Console);
        assert_eq!(made(&[host, ("sec-fetch-site", "none")]), Maker::Console, "typed");
        for foreign in [
            &[("host", "evil.test")][..],
            &[host, ("origin", "http://evil.test")],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://127.0.0.1:9")],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site")],
            &[host, host],
            &[("origin", "http://localhost")],
        ] {
            assert_eq!(made(foreign), Maker::Foreign, "{foreign:?}");
        }
    }

    #[test]
    fn a_token_is_good_once_and_a_cookie_for_eight_hours() {
        let clock = ManualClock::start();
        let passes = Passes::new(Env { clock: clock.clone(), random: Arc::new(SystemRandom) });
        let with =
            |name: &'static str, value: &str| HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        let token = passes.token().unwrap();
        assert!(!passes.knows(&with("cookie", &format!("{NAME}{token}"))), "a token is no cookie");
        let cookie = passes.exchange(&with(TOKEN_HEADER, &token)).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"));
        assert!(passes.exchange(&with(TOKEN_HEADER, &token)).is_none(), "once");
        let pair = format!("other=1; {}", cookie.split(';').next().unwrap());
        assert!(passes.knows(&with("cookie", &pair)) && !passes.knows(&with("cookie", &format!("{NAME}junk"))));
        clock.advance(COOKIE);
        assert!(!passes.knows(&with("cookie", &pair)));
        let late = passes.token().unwrap();
        clock.advance(TOKEN);
        assert!(passes.exchange(&with(TOKEN_HEADER, &late)).is_none());
        (0..100).for_each(|_| drop(passes.token()));
        assert_eq!(passes.all.lock().len(), MOST);
    }
}
