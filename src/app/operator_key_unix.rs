//! The operator's key, on Unix: there is none, since the system says whose a connection is.

use std::net::SocketAddr;

use http::HeaderMap;

use crate::base::clock::Random;
use crate::base::secret::Secret;

/// None.
#[derive(Clone)]
pub struct OperatorKey;

impl OperatorKey {
    /// The header of a key.
    pub const HEADER: &str = "patgate-operator";

    /// Makes none.
    pub(super) fn publish(_admin: SocketAddr, _random: &dyn Random) -> Self {
        Self
    }

    /// Never.
    pub(super) fn is_shown(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// None.
    pub fn of(_admin: SocketAddr) -> Option<Secret> {
        None
    }
}
