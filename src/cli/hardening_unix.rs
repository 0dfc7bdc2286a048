//! No copy of the process's memory for others, on Unix: no core file, and on Linux no debugger of the same user. The
//! memory holds PATs. A core handler that is a program ignores the limit, but not that the process is not dumpable
//! (core(5), prctl(2)).

use nix::sys::resource::{Resource, setrlimit};

/// Takes what allows a dump from this process, and from those that it starts.
pub(super) fn forbid_dumps() {
    // A system that refuses leaves the process as it was; the unit file forbids core files too.
    let _limited = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _undumpable = nix::sys::prctl::set_dumpable(false);
}
