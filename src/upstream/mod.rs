//! Connections to Snowflake. [`AccountClient`] is the entry point: it sends requests to an account. Its [`Failure`]
//! says how far a request came and whose failure it is.
//!
//! # One task per request
//! The user of a connection drives it: the pool polls it until the head of the answer arrives, and the [`ResponseBody`]
//! polls it until the last byte and then returns it. A connection has no task of its own, no channel between tasks, and
//! no wake-up across threads; every worker has its own pools. A dropped request drops its connection, so a client that
//! disconnects also ends its request at Snowflake.
//!
//! # No retry
//! This module sends nothing twice, except a request that was not written because an idle connection was closed.
//! Drivers retry with the same `requestId`. The gate retries logins and renewals, under a [`Hold`](hold::Hold).

mod account;
mod body;
mod breaker;
mod client_body;
mod connect;
mod dial;
mod distrust;
mod failure;
mod hold;
mod idle_pool;
mod in_flight;
mod look;
mod own_request;
mod own_session;
mod pool;
mod reads_on;
mod response_body;
mod rotator;
mod tunnel;
mod whole;

pub use account::{AccountClient, AccountError, AccountState};
pub use body::RequestBody;
pub use client_body::{BodySlot, ClientBody};
pub use dial::dial_host;
pub use failure::Failure;
pub use hold::Held;
pub use in_flight::InFlightPermit;
pub use look::Look;
pub use own_session::{Opened, OwnSession};
pub use response_body::ResponseBody;
pub use rotator::{Ran, SqlUser};
pub use whole::whole;
