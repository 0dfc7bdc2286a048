//! patgate: a TLS gate between BI tools and Snowflake that puts the current programmatic access token (PAT) into every login.
//!
//! Clients log in with a key that patgate issued. The gate checks it, takes the service user's PAT from a secrets manager,
//! puts it into the login in place of the key, and streams everything else. Clients never hold the PAT.
//!
//! ```text
//! Power BI ─┐                        ┌── secrets manager: Vault · AWS · Azure · GCP · file · env
//! Tableau  ─┼── TLS, client key ──►  patgate ── TLS, PAT ──► <account>.snowflakecomputing.com
//! Excel    ─┘
//! ```
//!
//! # The house
//! A module imports only from modules of a lower rank; `tests/house` checks it. A request travels downhill: `listen` takes
//! the connection, `proxy` answers each request with the help of `admit` (who), `secrets` and `pat` (with what) and
//! `upstream` (where to).

// A blank line between the modules keeps them in the order of their ranks.

pub mod base; // rank 0: words everyone uses, no I/O

pub mod config; // rank 1: the file, once, into typed values

pub mod snowflake; // rank 1: the wire vocabulary, pure

pub mod state; // rank 1: what outlives the process

pub mod replicas; // rank 2: what gates on several hosts tell each other

pub mod session; // rank 2: what a client holds between requests: sealed tokens

pub mod telemetry; // rank 2: what the operator is told

pub mod tls; // rank 2: TLS on both sides, and the transport below it

pub mod admit; // rank 3: who may enter

pub mod standin; // rank 3: a small, strict Snowflake for the demo and the tests

pub mod upstream; // rank 3: Snowflake's side: connections, deadlines

pub mod secrets; // rank 4: stores, and the cache of PATs

pub mod pat; // rank 5: the life of a PAT: its budget of logins

pub mod proxy; // rank 6: one request, from head to last byte

pub mod listen; // rank 7: socket to request

pub mod app; // rank 8: composition, admin endpoint, command line, demo
