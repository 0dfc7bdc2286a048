//! The form of a request's target: a path, and one Host, which chooses nothing.

use http::{header, request};

use crate::base::fault::{Fault, Kind};

/// Refuses what belongs to a forward proxy and what two readers could understand differently.
pub(super) fn check(head: &request::Parts) -> Result<(), Fault> {
    let wrong = |cause: &str| Err(Fault::new(Kind::TargetForm).because(cause));
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return wrong("the target is in absolute form");
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, _) => wrong("no Host"),
        (Some(_), Some(_)) => wrong("more than one Host"),
    }
}
