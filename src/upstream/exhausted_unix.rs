//! The error codes by which a Unix system says that it has nothing left to make a connection with (errno(3)).

/// EMFILE, ENFILE, ENOMEM and ENOBUFS.
pub(super) const CODES: [i32; 4] = {
    use nix::errno::Errno;
    [Errno::EMFILE as i32, Errno::ENFILE as i32, Errno::ENOMEM as i32, Errno::ENOBUFS as i32]
};
