//! Words that every room uses: secrets, names, time and chance, faults, drain, points in time, sealing. No I/O.

pub mod cipher;
pub mod clock;
pub mod drain;
pub mod fault;
pub mod names;
pub mod pins;
pub mod rfc3339;
pub mod secret;
