//! When a PAT ends, and who says so: the token itself, else the store, else Snowflake.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::shape::Shape;
use crate::stores::FetchedPat;

/// Who says when a PAT ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndSource {
    /// The token.
    Token,
    /// The store.
    Store,
    /// Snowflake, to a rotator.
    Snowflake,
}

impl EndSource {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Store => "store",
            Self::Snowflake => "snowflake",
        }
    }
}

/// The end of a PAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatEnd {
    /// When.
    pub at: SystemTime,
    /// Who says so.
    pub from: EndSource,
}

impl PatEnd {
    /// What the token, or else the store, says.
    pub(super) fn of(pat: &FetchedPat) -> Option<Self> {
        let own = pat.secret.pat().and_then(|secret| match Shape::of(secret) {
            Shape::Jwt { ends } => ends,
            Shape::Opaque | Shape::ClientKey => None,
        });
        let token = own.map(|at| Self { at, from: EndSource::Token });
        token.or_else(|| pat.expires.map(|at| Self { at, from: EndSource::Store }))
    }
}
