//! The error codes of a Windows system that has no resources left for a connection (Windows Sockets error codes).

/// WSAEMFILE and WSAENOBUFS.
pub(super) const CODES: [i32; 2] = [10_024, 10_055];
