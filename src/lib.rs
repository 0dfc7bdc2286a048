//! patgate: a TLS gate between BI tools and Snowflake that puts the current programmatic access token (PAT) into every
//! login.

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
        pub use crate::standin::{Certificates, Knob, PatState, Place, StandIn, State, start};
    }
    pub mod ticket {
        pub use crate::ticket::{Bound, Keyring, Sealer, Ticket, TokenKind};
    }
    pub mod tls {
        pub use crate::tls::{client, client_as, server};
    }
}
