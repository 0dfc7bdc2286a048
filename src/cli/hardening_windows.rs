//! Windows writes dumps where its error reporting is set up to; a program cannot forbid that by itself.

/// Nothing.
pub(super) fn forbid_dumps() {}
