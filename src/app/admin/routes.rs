//! The paths of the admin address: one table.

use http::Method;

/// The command of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Whether the process runs.
    Live,
    /// Whether every credential has a usable PAT, and no drain has begun.
    Ready,
    /// The metrics, for Prometheus.
    Metrics,
    /// The status of each credential's PAT; never the PAT.
    Pats,
    /// Reads every PAT now, or that of `?credential=NAME`: for a store's event hook.
    Refresh,
    /// Forgets the bad logins of `?credential=NAME`, then reads its PAT.
    Retry,
    /// Reads the configuration again, with the files that it names.
    Reload,
    /// The sessions that this gate has recently served; never a token.
    Sessions,
    /// Adds a key to a ring that the gate makes; the key seals from now on.
    RotateKeys,
    /// Ends the sessions opened until now: `?target=client:NAME`, `pat:FINGERPRINT` or `session:ID`.
    EndSessions,
}

const ROUTES: [(Method, &str, Verb); 10] = [
    (Method::GET, "/livez", Verb::Live),
    (Method::GET, "/readyz", Verb::Ready),
    (Method::GET, "/metrics", Verb::Metrics),
    (Method::GET, "/pats", Verb::Pats),
    (Method::POST, "/pats/refresh", Verb::Refresh),
    (Method::POST, "/pats/retry", Verb::Retry),
    (Method::POST, "/reload", Verb::Reload),
    (Method::GET, "/sessions", Verb::Sessions),
    (Method::POST, "/sessions/rotate", Verb::RotateKeys),
    (Method::POST, "/sessions/kill", Verb::EndSessions),
];

/// Why a request has no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// The path exists, with another method.
    WrongMethod,
    /// There is no such path.
    Unknown,
}

/// The command for a method and a path.
pub(super) fn find(method: &Method, path: &str) -> Result<Verb, NoRoute> {
    match ROUTES.iter().find(|(_, known, _)| *known == path) {
        Some((known, _, verb)) if known == method => Ok(*verb),
        Some(_) => Err(NoRoute::WrongMethod),
        None => Err(NoRoute::Unknown),
    }
}

/// All paths.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(_, path, _)| *path)
}

impl Verb {
    /// Whether a web page may send it too: it reveals only the health of the gate.
    pub(super) fn is_harmless(self) -> bool {
        match self {
            Self::Live | Self::Ready | Self::Metrics => true,
            Self::Pats | Self::Refresh | Self::Retry | Self::Reload => false,
            Self::Sessions | Self::RotateKeys | Self::EndSessions => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_method() {
        assert_eq!(find(&Method::GET, "/pats"), Ok(Verb::Pats));
        assert_eq!(find(&Method::POST, "/pats"), Err(NoRoute::WrongMethod));
        assert_eq!(find(&Method::GET, "/pats/"), Err(NoRoute::Unknown));
        let mut all: Vec<_> = paths().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ROUTES.len());
    }
}
