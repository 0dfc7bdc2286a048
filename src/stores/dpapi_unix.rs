//! Secrets that Windows has encrypted, elsewhere: none. The configuration's check refuses them.

use std::io;

/// None.
///
/// # Errors
/// Always.
pub(super) fn unprotected(_blob: &[u8]) -> io::Result<String> {
    Err(io::Error::other("only Windows has DPAPI"))
}
