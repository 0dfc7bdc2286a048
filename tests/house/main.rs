//! The rules of the house, checked on its own source.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod example;
mod faults;
mod files;
mod locks;
mod ranks;
