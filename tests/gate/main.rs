//! Tests of the whole gate in one process: one module per behaviour; every test name is a sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod accounts;
mod bad_input;
mod certificates;
mod guard;
mod health;
mod hunt;
mod joins;
mod key_pair;
mod limits;
mod login;
mod operator;
mod peers;
mod planted;
mod proxy_way;
mod refusals;
mod reload;
mod rest;
mod rotate;
mod rotation;
mod sealed;
mod settings;
mod sockets;
mod status;
mod stores;
mod strangers;
mod streams;
mod upgrade;
mod upkeep;
mod ways;
mod world;
