//! The rules of the house, checked on its own source.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod example;
mod files;
mod ranks;
