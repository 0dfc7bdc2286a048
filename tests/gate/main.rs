//! The whole gate in one process: a module per behaviour, and every name a sentence.

mod bad_input;
mod login;
mod refusals;
mod stores;
mod streams;
mod world;
