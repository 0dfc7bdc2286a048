//! Snowflake's side of the wire. [`AccountClient`] is the front door: whoever has one can send a request to an account,
//! and learns of a [`Failure`] also how far the request had come and whose failure it is.
//!
//! # One task a request
//! A connection is driven by whoever uses it: the pool polls it while the answer's head is awaited, and the
//! [`ResponseBody`] polls it until its last byte and then hands it back. No task of its own, no channel between tasks,
//! no wake-up across threads; every worker has pools of its own. A request that is dropped takes its connection with
//! it, which is how a client that goes away ends the request at Snowflake.
//!
//! # No retry
//! Nothing is sent twice here, but for a request that was never written because a kept connection turned out to be
//! closed. Drivers repeat by themselves, with the same `requestId`. Logins and renewals are repeated by the gate, under
//! a [`Hold`](hold::Hold).

mod account;
mod body;
mod breaker;
mod connect;
mod failure;
mod hold;
mod idle_pool;
mod pool;
mod response_body;
mod tunnel;

pub use account::{AccountClient, AccountError, AccountState, InFlightPermit};
pub use body::RequestBody;
pub use failure::Failure;
pub use response_body::ResponseBody;
