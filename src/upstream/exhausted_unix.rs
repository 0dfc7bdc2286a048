//! The error codes of a Unix system that has no resources left for a connection (errno(3)).

/// EMFILE, ENFILE, ENOMEM and ENOBUFS.
pub(super) const CODES: [i32; 4] = {
    use nix::errno::Errno;
    [Errno::EMFILE as i32, Errno::ENFILE as i32, Errno::ENOMEM as i32, Errno::ENOBUFS as i32]
};
