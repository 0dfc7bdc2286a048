//! Arbitrary sealed tokens: a token that this gate has not sealed does not open, and nothing panics.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use patgate::internal::base::secret::Secret;
use patgate::internal::ticket::{Keyring, Sealer};
use tokio::runtime::{Builder, Runtime};

static KEYS: LazyLock<(std::sync::Arc<Sealer>, Runtime)> = LazyLock::new(|| {
    let ring = Keyring::parse(&Secret::new("0123456789abcdef".repeat(4))).unwrap();
    let (keys, reread) = Sealer::new(ring);
    drop(reread);
    (keys, Builder::new_current_thread().enable_time().build().unwrap())
});

fuzz_target!(|text: &str| {
    let (keys, runtime) = &*KEYS;
    assert!(runtime.block_on(keys.open(text)).is_err(), "a forgery opens: {text}");
    // The same with the prefix, so that it passes the first check.
    assert!(runtime.block_on(keys.open(&format!("pgs1_{text}"))).is_err(), "a forgery opens: {text}");
});
