//! What a client holds between requests: a [`Ticket`], sealed.
//!
//! Snowflake's session and master tokens are as good as a PAT for four hours, and drivers write what they are given
//! into their logs. So a login's answer carries sealed tickets in their place: the token, whom it was given to and for
//! how long, under a key of the gate's [`Keyring`]. Nothing of it has to be stored: any replica that holds the ring
//! serves any session.
//!
//! A ticket says which client and which of its keys it was given to. Opening it proves no more than that the gate made
//! it; whether that client may still come, and from there, is for `admit` to say at every request.
//!
//! # The ring
//! One key seals, all open. A new key is added where the ring is kept (a store, or a file that replicas on one host
//! share) and the old ones stay until nothing that they sealed can be alive. A replica that meets the id of a key that
//! it does not know has the ring read again before it refuses, so that a rotation needs no order.

mod content;
mod keyring;
mod sealer;

#[cfg(test)]
pub(crate) use content::tests;
pub use content::{Bound, Ticket, TokenKind};
pub use keyring::{Keyring, MOST};
pub use sealer::{KeyringRequest, KeyringRequests, NotOpened, Sealer};
