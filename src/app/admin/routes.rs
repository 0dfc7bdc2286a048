//! The paths of the admin address: one table.

use http::Method;

/// Makes the enum of verbs, the list of all, and the route of each, from one row for each.
macro_rules! verbs {
    ($($(#[doc = $doc:literal])+ $verb:ident = $method:ident $path:literal,)+) => {
        /// The command of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Verb {
            $($(#[doc = $doc])+ $verb,)+
        }

        impl Verb {
            const ALL: &[Self] = &[$(Self::$verb),+];

            /// The method and the path of its requests; the gate and its commands share them.
            pub fn route(self) -> (Method, &'static str) {
                match self {
                    $(Self::$verb => (Method::$method, $path),)+
                }
            }
        }
    };
}

verbs! {
    /// Whether the process runs.
    Live = GET "/livez",
    /// Whether every PAT was looked for, at least one credential works, and no drain has begun.
    Ready = GET "/readyz",
    /// The metrics, for Prometheus.
    Metrics = GET "/metrics",
    /// The whole gate on one screen.
    Status = GET "/status",
    /// The status of each credential's PAT; never the PAT. `?clients=true` adds the last login of every client.
    Pats = GET "/pats",
    /// Reads every PAT now, or that of `?credential=NAME`: for a store's event hook.
    Refresh = POST "/pats/refresh",
    /// Forgets the bad logins of `?credential=NAME`, then reads its PAT.
    Retry = POST "/pats/retry",
    /// Logs in with the PAT of `?credential=NAME`, unless Snowflake has refused it before, and logs out.
    Login = POST "/pats/login",
    /// Looks at each rotated token, as its rotator; nothing is changed.
    LookAtTokens = POST "/pats/look",
    /// Rotates the token of `?credential=NAME` now; with `&dry_run=true` it says what it would do.
    Rotate = POST "/pats/rotate",
    /// The same, and ends the old token at once.
    Replace = POST "/pats/replace",
    /// Ends the PAT of `?credential=NAME`: disables its token, or removes it with `&remove=true`.
    /// Its sessions end. With `&dry_run=true` it says what it would do, and who would feel it.
    Revoke = POST "/pats/revoke",
    /// What tools have to be told to reach the gate as the client `?client=NAME`.
    WayIn = GET "/clients/way",
    /// Reads the configuration again, with the files that it names.
    Reload = POST "/reload",
    /// What failed last, with sentences and next steps.
    Failures = GET "/failures",
    /// A token for the console, good once.
    ConsoleToken = POST "/console/token",
    /// Drains the gate, and ends the process.
    Drain = POST "/drain",
    /// What is written to the log.
    Log = GET "/log",
    /// Sets what is written to the log: `?level=info,pat=debug`.
    SetLog = POST "/log/level",
    /// The sessions that this gate has recently served; never a token.
    Sessions = GET "/sessions",
    /// Adds a key to a ring that the gate makes; the key seals from now on.
    RotateKeys = POST "/sessions/rotate",
    /// Ends the sessions opened until now: `?target=client:NAME`, `pat:FINGERPRINT`, `session:ID`
    /// or `all`.
    EndSessions = POST "/sessions/kill",
}

/// Why a request has no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// The path exists, with another method.
    WrongMethod,
    /// There is no such path.
    Unknown,
}

/// The command for a method and a path. HEAD is a GET without the body (RFC 9110, section 9.3.2).
pub(super) fn find(method: &Method, path: &str) -> Result<Verb, NoRoute> {
    match Verb::ALL.iter().map(|verb| (*verb, verb.route())).find(|(_, (_, known))| *known == path) {
        Some((verb, (known, _))) if known == *method || (known == Method::GET && *method == Method::HEAD) => Ok(verb),
        Some(_) => Err(NoRoute::WrongMethod),
        None => Err(NoRoute::Unknown),
    }
}

/// All paths.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    Verb::ALL.iter().map(|verb| verb.route().1)
}

impl Verb {
    /// Whether every local user may send it: it reveals only the health of the gate.
    pub(super) fn is_for_everyone(self) -> bool {
        match self {
            Self::Live | Self::Ready | Self::Metrics => true,
            Self::Status
            | Self::Pats
            | Self::Refresh
            | Self::Retry
            | Self::Login
            | Self::Reload
            | Self::WayIn
            | Self::LookAtTokens => false,
            Self::Sessions | Self::RotateKeys | Self::EndSessions | Self::Log | Self::SetLog => false,
            Self::Failures | Self::ConsoleToken | Self::Drain | Self::Rotate | Self::Replace | Self::Revoke => false,
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
        assert_eq!(find(&Method::HEAD, "/pats"), Ok(Verb::Pats));
        assert_eq!(find(&Method::HEAD, "/reload"), Err(NoRoute::WrongMethod));
        assert_eq!(find(&Method::GET, "/pats/"), Err(NoRoute::Unknown));
        let mut all: Vec<_> = paths().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Verb::ALL.len());
    }
}
