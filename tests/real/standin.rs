//! The stand-in for Snowflake as a program, for tests in other languages: `standin CERTIFICATE KEY`.
//!
//! It prints `ready PORT` and ends with its standard input.

#![allow(clippy::print_stdout, clippy::expect_used)]

use std::io::Read;
use std::sync::Arc;

use patgate::internal::base::clock::SystemRandom;
use patgate::internal::config::KeyPair;
use patgate::internal::{standin, tls};

fn main() {
    let mut paths = std::env::args_os().skip(1).map(Into::into);
    let (Some(certificate), Some(key)) = (paths.next(), paths.next()) else { panic!("standin CERTIFICATE KEY") };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tls = tls::server(&KeyPair { certificate, key }, None).expect("a certificate");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let standin = runtime.block_on(standin::start(address, tls, Arc::new(SystemRandom))).expect("an address");
    println!("ready {}", standin.address.port());
    let mut nothing = Vec::new();
    let _ended = std::io::stdin().read_to_end(&mut nothing);
}
