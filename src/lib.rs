//! patgate: a TLS gate between BI tools and Snowflake that puts the current programmatic access token (PAT) into every
//! login.
//!
//! Clients log in with a key that patgate issued. The gate checks it, takes the service user's PAT from a secrets
//! manager, puts it into the login in place of the key, and streams everything else. Clients never hold the PAT.
//!
//! ```text
//! Power BI ─┐                        ┌── secrets manager: Vault · AWS · Azure · GCP · file · env
//! Tableau  ─┼── TLS, client key ──►  patgate ── TLS, PAT ──► <account>.snowflakecomputing.com
//! Excel    ─┘
//! ```
//!
//! # The words
//! One word means one thing.
//!
//! | word | meaning |
//! |---|---|
//! | account | one Snowflake account: host, port, TLS roots. The configuration fixes it, never a client |
//! | store | one configured secrets manager |
//! | secret reference | `STORE:PATH#FIELD`; the configuration holds references, never secrets |
//! | service user | the Snowflake user that a PAT belongs to, and that Snowflake locks after bad logins |
//! | credential | an account, a service user, and where its PAT is |
//! | client | who may connect: a name, its key hashes, networks, certificate names, limits, and its credential |
//! | client key | `pgk_<client>_<random>_<check>`, shown once; the configuration holds its SHA-256 |
//! | grant | proof that a client was admitted; only `admit` makes one, and a PAT is given only for a grant |
//! | lease | the right to send one login or REST request with one version of a PAT; it is told the outcome, once |
//! | guard | what limits the requests at risk with a version, so that bad logins never lock a service user |
//! | session | one Snowflake session that was opened through the gate |
//! | ticket | what a sealed token holds: Snowflake's token, the client, the credential, times |
//! | generation | one configuration, made ready to serve; a reload publishes the next one |
//! | fault | a failure: kind, code (`PG-nnn`), owner, sentence and next step for the client, cause for the log |
//! | record | the facts of one request from its first byte to its last. It observes; it never decides |
//!
//! # The rooms
//! `ls src` is the table of contents. A module imports only from modules of a lower rank; `tests/house` checks it. What
//! lives longer than a request has one room with one front door: `proxy` asks it one question and tells it one outcome,
//! and the operator's verbs are functions of that room.
//!
//! # The way of a login
//! 1. `listen` accepts the connection, reads a PROXY header from a trusted balancer, and shakes hands under a deadline.
//! 2. `proxy` opens the record; `snowflake` names the route. Unknown routes are refused, not forwarded.
//! 3. The body is read up to a cap, inflated up to a cap, and the client key is found in it.
//! 4. `admit` decides by network, key, certificate and limits, and gives a grant.
//! 5. `pat` gives a lease: the version in memory, in turn, within the risk that the guard allows.
//! 6. `snowflake` rewrites the body: every credential goes out, the PAT goes in, the rest keeps its bytes. `upstream`
//!    sends it.
//! 7. If Snowflake refuses the PAT, the lease is told, and gives another lease with a newer version or a fault.
//! 8. If Snowflake accepts, `session` seals the tokens and counts the session; the answer goes down.
//! 9. A fault becomes an answer in one place, `proxy`, by one table, `base::fault`. The last byte closes the record.
//!
//! # The way of a query
//! The head is read, the ticket in it opened (`session`), the client and its limits are checked (`admit`), the header
//! is swapped, and both bodies stream untouched (`upstream`). The gate does not retry; the driver does, with the same
//! `requestId`. A client that leaves takes its request at Snowflake along.
//!
//! # The promises
//! - No secret stands in a log, a metric, an error, or unsealed in the state directory. Every world of the gate's tests
//!   searches for its secrets when it ends.
//! - A PAT that is rotated at any moment, with or without overlap, fails no login. A store that is down changes nothing
//!   for `pat.stale`.
//! - At most `pat.budget` bad logins are sent with one version of a PAT, over restarts and over replicas that reach
//!   Redis. Without Redis each replica keeps the budget for itself.
//! - A reload, a certificate change and a drain break no request. A bad configuration leaves the old one in use.
//! - Whatever decides about authentication fails closed; whatever observes, and the replicas' common count, fails open.
//!
//! # Threads
//! The request path runs on workers: one single-threaded runtime a core, each with its own connections. What is slow or
//! can block (stores, reloads, the admin address) runs on the control runtime. A configuration is
//! published whole and read without a lock. The rest of what workers share (the guard's ledgers with their journal, the
//! list of sessions, an account's breaker) stands behind short locks, none of which is held over an await.

// A blank line between the modules keeps them in the order of their ranks.

mod base; // rank 0: words everyone uses, no I/O

mod config; // rank 1: the file, once, into typed values

mod snowflake; // rank 1: the wire vocabulary, pure

mod state; // rank 1: what outlives the process

mod replicas; // rank 2: what gates on several hosts tell each other

mod telemetry; // rank 2: what the operator is told

mod ticket; // rank 2: what a client holds between requests, sealed

mod tls; // rank 2: TLS on both sides, and the transport below it

#[cfg(feature = "demo")]
mod standin; // rank 3: a small, strict Snowflake for the demo and the tests

mod stores; // rank 3: secrets managers

mod admit; // rank 4: who may enter, and how fast

mod upstream; // rank 4: Snowflake's side: connections, deadlines

mod pat; // rank 5: a PAT's life

mod session; // rank 5: a session's life

mod proxy; // rank 6: one request, from head to last byte

mod listen; // rank 7: socket to request

mod app; // rank 8: the running gate

mod cli; // rank 9: the command line

pub use cli::main;

/// What tests, benches and fuzz targets need. It is no interface: everything else is private, so that the compiler sees
/// what nobody uses.
#[doc(hidden)]
pub mod internal {
    pub mod admit {
        pub use crate::admit::{Admission, Peer};
        pub mod key {
            pub use crate::admit::key::{ClientKey, PREFIX, issue, stored};
        }
    }
    pub mod app {
        pub use crate::app::{App, Reloaded};
    }
    pub mod base {
        pub mod clock {
            pub use crate::base::clock::{Clock, Env, ManualClock, Random, SystemClock, SystemRandom};
        }
        pub mod epoch {
            pub use crate::base::epoch::EpochMillis;
        }
        pub mod ids {
            pub use crate::base::ids::{KeyTag, PatId, SessionId, UserTag};
        }
        pub mod names {
            pub use crate::base::names::{CertificateName, ClientName, SecretRef, SecretRefs};
        }
        pub mod pins {
            pub use crate::base::pins::{Pin, Pins};
        }
        pub mod secret {
            pub use crate::base::secret::Secret;
        }
    }
    pub mod config {
        pub use crate::config::{
            Account, Bind, Client, ClientLimits, Config, Credential, ForwardProxy, KeyPair, Limits, Listen, Rates,
            Seal, SecretSource, State, Store,
        };
        pub mod units {
            pub use crate::config::units::{Rate, rate};
        }
        pub mod file {
            pub use crate::config::file::parse;
        }
    }
    pub mod session {
        pub use crate::session::Registry;
    }
    pub mod snowflake {
        pub use crate::snowflake::{query, rest};
        pub mod answer {
            pub use crate::snowflake::answer::{LoginAnswer, RenewalAnswer};
        }
        pub mod login {
            pub use crate::snowflake::login::{Injection, Login};
        }
        pub mod renewal {
            pub use crate::snowflake::renewal::Renewal;
        }
    }
    #[cfg(feature = "demo")]
    pub mod standin {
        pub use crate::standin::{Certificates, Knob, PatState, RouteName, StandIn, State, start};
    }
    pub mod ticket {
        pub use crate::ticket::{Bound, Keyring, Sealer, Ticket, TokenKind};
    }
    pub mod tls {
        pub use crate::tls::{client, client_as, server};
    }
}
