//! The descriptors of the process, on Windows: the number of sockets has no limit but memory.

/// No limit.
pub(super) fn most() -> Option<usize> {
    None
}
