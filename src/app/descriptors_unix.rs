//! The descriptors of the process, on Unix: the soft limit becomes the hard one. The connections of clients get what is
//! left beside the operator, stores, the state and Snowflake.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard one; returns it, if the system tells.
pub(super) fn most() -> Option<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { soft.max(hard) } else { soft }).ok()
}
