//! Snowflake's side of the wire: connections, their reuse, and the deadlines on them.
//!
//! # One task a request
//! A connection is driven by whoever uses it: [`Pool::send`] polls it while the answer's head is awaited, and the
//! [`Answer`] body polls it until its last byte and then hands it back. No task of its own, no channel between tasks, no
//! wake-up across threads; every worker has pools of its own. A request that is dropped takes its connection with it, which
//! is how a client that goes away ends the request at Snowflake.
//!
//! # No retry
//! Nothing is sent twice here, but for a request that was never written because a kept connection turned out to be closed.
//! Drivers repeat by themselves, with the same `requestId`.

mod answer;
mod body;
mod breaker;
mod connect;
mod kept;
mod pool;
mod tunnel;

pub use answer::Answer;
pub use body::RequestBody;
pub use breaker::{Breaker, LOOK, Way};
pub use pool::{Failure, Pool};
pub use tunnel::Tunnel;
