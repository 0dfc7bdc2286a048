//! Snowflake's driver protocol as words: routes, the login body, answers. Pure: no sockets, no clock.

pub mod answer;
pub mod body;
pub mod granted;
pub mod login;
pub mod members;
pub mod query;
pub mod renewal;
pub mod rest;
pub mod route;
pub mod token_header;

/// `PROGRAMMATIC_ACCESS_TOKEN`, the authenticator under which a PAT stands in the member `TOKEN`.
pub const PAT_AUTHENTICATOR: &str = "PROGRAMMATIC_ACCESS_TOKEN";
