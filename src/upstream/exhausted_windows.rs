//! The error codes by which Windows says that it has nothing left to make a connection with (Windows Sockets error
//! codes).

/// WSAEMFILE and WSAENOBUFS.
pub(super) const CODES: [i32; 2] = [10_024, 10_055];
