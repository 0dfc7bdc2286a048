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
//! | lease | the right to send one login or REST request with one version of a PAT; its holder reports one outcome |
//! | guard | what limits the requests at risk with a version, so that bad logins never lock a service user |
//! | session | one Snowflake session that was opened through the gate |
//! | ticket | what a sealed token holds: Snowflake's token, the client, the credential, times |
//! | generation | one configuration, made ready to serve; a reload publishes the next one |
//! | fault | a failure: kind, code (`PG-nnn`), owner, sentence and next step for the client, cause for the log |
//! | record | the facts of one request from its first byte to its last. It observes; it never decides |
//!
//! # The rooms
//! `ls src` is the table of contents: each directory is a room. A module imports only from modules of a lower rank;
//! `tests/house` checks it. What lives longer than a request (a PAT, a session) has one room with one entry: `proxy`
//! asks one question and reports one outcome, and the operator's verbs call functions of that room.
//!
//! # The way of a login
//! 1. `listen` accepts the connection, reads a PROXY header from a trusted balancer, and does the TLS handshake
//!    within a deadline.
//! 2. `proxy` opens the record; `snowflake` names the route. The gate refuses unknown routes; it does not forward them.
//! 3. `proxy` reads and inflates the body, both up to a cap. `snowflake` finds the client key in it.
//! 4. `admit` decides by network, key, certificate and limits, and returns a grant.
//! 5. `pat` returns a lease: the version in memory, in fair order, within the risk that the guard allows.
//! 6. `snowflake` rewrites the body: it removes every credential and adds the PAT; the rest keeps its bytes. `upstream`
//!    sends it.
//! 7. If Snowflake refuses the PAT, `proxy` reports it to the lease, and gets a lease for a newer version or a fault.
//! 8. If Snowflake accepts, `session` seals the tokens and counts the session. The client receives the answer.
//! 9. `proxy` alone turns a fault into an answer, by one table, `base::fault`. The last byte closes the record.
//!
//! # The way of a query
//! `session` unseals the ticket in the head and asks `admit` about its client and limits. `proxy` replaces the header,
//! and `upstream` streams both bodies unchanged. The gate does not retry; the driver does, with the same `requestId`.
//! If the client leaves, the gate ends its request at Snowflake.
//!
//! # The promises
//! - No log, metric, error or unsealed file of the state directory contains a secret. Every world of the gate's tests
//!   searches for its secrets when it ends.
//! - A rotation of a PAT, at any moment, with or without overlap, makes no login fail. While a store is unreachable,
//!   the gate serves for `pat.stale`.
//! - The gate sends at most `pat.budget` bad logins with a version of a PAT that has not lately proven itself, and at
//!   most `pat.in_flight` with one that dies in a storm, over restarts and over replicas that reach Redis. Without
//!   Redis each replica keeps its part of the places.
//! - Only a login of the gate's own form takes a PAT out of use for all; clients that wait for a login take turns.
//! - A reload and a certificate change break no request, nor does a stop within `listen.drain`. With a bad
//!   configuration the gate keeps the old one.
//! - Authentication fails closed. Observation, and the common count of replicas, fail open.
//!
//! # Threads
//! The request path runs on workers: one single-threaded runtime a core, each with its own connections. What is slow or
//! can block (stores, reloads, the admin address) runs on the control runtime. A configuration is published whole and
//! read without a lock. The rest of what workers share (the guard's ledgers with their journal, the list of sessions,
//! an account's breaker) stands behind short locks, none of which is held over an await.

// A blank line between the modules keeps them in the order of their ranks.

mod base; // rank 0: words everyone uses, no I/O

mod config; // rank 1: the file, once, into typed values

mod snowflake; // rank 1: the wire vocabulary, pure

mod state; // rank 1: what outlives the process

mod replicas; // rank 2: what gates on several hosts tell each other

mod ticket; // rank 2: what a client holds between requests, sealed

mod tls; // rank 2: TLS on both sides, and the transport below it

mod telemetry; // rank 3: what the operator is told, and what is written down

#[cfg(feature = "demo")]
mod standin; // rank 4: a small, strict Snowflake for the demo and the tests

mod stores; // rank 4: secrets managers

mod admit; // rank 5: who may enter, and how fast

mod upstream; // rank 5: Snowflake's side: connections, deadlines

mod pat; // rank 6: a PAT's life

mod session; // rank 6: a session's life

mod proxy; // rank 7: one request, from head to last byte

mod listen; // rank 8: socket to request

mod app; // rank 9: the running gate

mod cli; // rank 10: the command line

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
        pub mod fault {
            pub use crate::base::fault::{Kind, Reply};
        }
        pub mod ids {
            pub use crate::base::ids::{KeyTag, PatId, SessionId, UserTag};
        }
        pub mod tunnel_target {
            pub use crate::base::tunnel_target::TunnelTarget;
        }
        pub mod login_names {
            pub use crate::base::login_names::LoginName;
        }
        pub mod names {
            pub use crate::base::names::{CertificateName, ClientName, LoginRefs, SecretRef, SecretRefs};
        }
        pub mod pins {
            pub use crate::base::pins::{Pin, Pins};
        }
        pub mod secret {
            pub use crate::base::secret::Secret;
        }
        pub mod trace {
            pub use crate::base::trace::{SpanId, TraceId};
        }
    }
    pub mod config {
        pub use crate::config::{
            Account, Bind, Client, ClientLimits, Config, Connect, Credential, ForwardProxy, History, KeyPair, Kind,
            Limits, Listen, Rates, Rotation, Rotator, Seal, SecretSource, State, Store,
        };
        pub mod units {
            pub use crate::config::units::{Rate, rate};
        }
        pub mod keys {
            pub use crate::config::keys::all_keys;
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
        pub mod login_secret {
            pub use crate::snowflake::login_secret::Presented;
        }
        pub mod answer {
            pub use crate::snowflake::answer::{LoginAnswer, RenewalAnswer};
        }
        pub mod key_pair {
            pub use crate::snowflake::key_pair::{KeyPair, KeyPairError, SigningFailed};
        }
        pub mod login {
            pub use crate::snowflake::login::{Injection, Login, Mark};
        }
        pub mod renewal {
            pub use crate::snowflake::renewal::Renewal;
        }
    }
    pub mod state {
        pub use crate::state::StateDir;
    }
    pub mod telemetry {
        pub use crate::config::{Level, Log, LogFormat};
        pub use crate::snowflake::route::Route;
        pub use crate::telemetry::logs;
        pub use crate::telemetry::record::{Opening, Record, Step};
        pub use crate::telemetry::sinks::Sinks;
        pub mod act {
            pub use crate::telemetry::act::{Act, CONFIGURATION, SESSION_ENDED, STARTED};
        }
        pub mod history {
            pub use crate::telemetry::history::{Batch, History, Reader};
        }
        pub mod story {
            pub use crate::telemetry::story::{FaultStory, LoginStory, Story};
        }
    }
    #[cfg(feature = "demo")]
    pub mod standin {
        pub use crate::standin::{
            Certificates, Knob, PatState, RouteName, Saying, StandIn, State, TokenState, TokenStatus, UserKind,
            UserSettings, start, start_in,
        };
    }
    pub mod ticket {
        pub use crate::ticket::{Bound, Keyring, Sealer, Ticket, TokenKind};
    }
    pub mod tls {
        pub mod local_ca {
            pub use crate::tls::local_ca::LocalCa;
        }
        pub use crate::tls::{client, client_as, server};
    }
}
