//! Sealed [`Ticket`]s: clients hold them between requests.
//!
//! Snowflake's session and master tokens are as good as a PAT for four hours, and drivers write their tokens into logs.
//! The answer to a login therefore has sealed tickets in their place: the token, its owner and its lifetime, sealed
//! with a key of the gate's [`Keyring`]. The gate stores nothing: any replica with the key ring serves any session.
//!
//! A ticket names its client and the client's key. Unsealing it proves only that the gate made it. `admit` decides at
//! every request whether that client may still use the gate from its address.
//!
//! # The ring
//! One key seals, all keys open. The source of the ring (a store, or a file that replicas on one host share) gets a new
//! key, and the old keys stay until all their tickets have expired. A replica that finds an unknown key name reads the
//! ring again before it refuses, so a rotation can reach the replicas in any order.

mod content;
mod keyring;
mod sealer;

#[cfg(test)]
pub(crate) use content::tests;
pub use content::{Bound, Ticket, TokenKind};
pub use keyring::{Keyring, MOST};
pub use sealer::{KeyringRequest, KeyringRequests, NotOpened, Sealer};
