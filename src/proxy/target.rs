//! Checks of a request's target. It must be a path with exactly one Host; the Host does not choose an account. The gate
//! refuses browsers: some clients are identified only by their address or machine, and any web page can make a browser
//! there send requests.

use http::{header, request};

use crate::admit::Peer;
use crate::base::fault::{Fault, Kind};
use crate::base::names::is_this_machine;

/// Refuses the target forms of a forward proxy, and forms that two readers could understand differently.
pub(super) fn check(head: &request::Parts, peer: &Peer) -> Result<(), Fault> {
    let wrong = |cause: &str| Err(Fault::new(Kind::TargetForm).with_cause(cause));
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return wrong("the target is in absolute form");
    }
    for name in ["origin", "sec-fetch-site"] {
        if head.headers.contains_key(name) {
            return Err(
                Fault::new(Kind::RouteUnknown).with_cause(format_args!("the request is a browser's: it has {name}"))
            );
        }
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        // Without TLS, DNS rebinding could make any web page's name point to this machine.
        (Some(host), None) if !peer.tls && !is_this_machine(host.as_bytes()) => {
            wrong("the listener has no TLS, and the Host is not this machine")
        }
        (Some(_), None) => Ok(()),
        (None, _) => wrong("no Host"),
        (Some(_), Some(_)) => wrong("more than one Host"),
    }
}
