//! Types that every module uses: secrets, names, ids, clock and randomness, faults, sealing. No I/O.

pub mod cipher;
pub mod clock;
pub mod epoch;
pub mod fault;
pub mod ids;
pub mod login_names;
pub mod names;
pub mod pins;
pub mod redact;
pub mod rfc3339;
pub mod secret;
pub mod shutdown;
pub mod source;
pub mod text;
pub mod trace;
pub mod trial;
pub mod tunnel_target;
pub mod verdict;
