//! The keeper of the key ring: it reads the ring from its source, publishes it, and reads it again regularly and when a
//! request needs it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::key_file::KeyFile;
use crate::base::clock::Env;
use crate::base::names::SecretRefs;
use crate::config::Seal;
use crate::state::StateDir;
use crate::stores::Resolver;
use crate::telemetry::log_throttle::LogThrottle;
use crate::ticket::{Keyring, KeyringRequest, KeyringRequests, Sealer};

/// The least time between two reads of a file, and of a store, because any client can send a token with an unknown key
/// name.
const PACES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// The source of the ring.
enum KeyringSource {
    /// In a store; the operator changes it.
    Store(Arc<Resolver>, SecretRefs),
    /// In the state directory; the gate changes it.
    Made(KeyFile),
    /// In memory, until the process ends.
    Nowhere,
}

/// Opens the ring and keeps it up to date. The gate must start while the store is unreachable: until the store answers,
/// the gate seals with a key of this process, and this key still opens later.
///
/// # Errors
/// If the ring in the state directory is unusable.
pub(super) async fn open(
    settings: &Seal,
    resolver: &Arc<Resolver>,
    state: Option<&StateDir>,
    env: &Env,
) -> io::Result<Arc<Sealer>> {
    let source = match (&settings.keys, state) {
        (Some(references), _) => KeyringSource::Store(resolver.clone(), references.clone()),
        (None, Some(state)) => KeyringSource::Made(KeyFile::new(state.clone(), settings.rotate, settings.keep)),
        (None, None) => {
            tracing::warn!("the gate has no state directory: sessions do not survive its restart");
            KeyringSource::Nowhere
        }
    };
    let mut keeper = Keeper { source, env: env.clone(), last: None, failed: LogThrottle::default() };
    let ring = match keeper.read().await {
        Ok(ring) => ring,
        Err(cause) if matches!(keeper.source, KeyringSource::Made(_)) => return Err(io::Error::other(cause)),
        Err(cause) => {
            tracing::error!(
                owner = "store",
                cause,
                "cannot read seal.keys; until it can, the gate seals with a key of its own"
            );
            let own = Keyring::own().map_err(io::Error::other)?;
            keeper.last = Some((own.clone(), Standing::Own));
            own
        }
    };
    let (sealer, requests) = Sealer::new(ring);
    tokio::spawn(keeper.keep(sealer.clone(), requests, settings.refresh));
    Ok(sealer)
}

struct Keeper {
    source: KeyringSource,
    env: Env,
    /// The rings published before, whose keys still open after the next read.
    last: Option<(Keyring, Standing)>,
    failed: LogThrottle,
}

/// The origin of a ring whose keys still open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A key of this process, made before the store first answered.
    Own,
    /// The first reference; a fallback may be behind it.
    First,
}

impl Keeper {
    /// Reads the ring. A fallback only adds keys and removes none, because it may be behind.
    async fn read(&mut self) -> Result<Keyring, String> {
        match &self.source {
            KeyringSource::Store(resolver, references) => {
                let (text, rank) = resolver.text(references).await.map_err(|error| error.to_string())?;
                let ring = Keyring::parse(&text).map_err(|error| format!("{references}: {error}"))?;
                let ring = match &self.last {
                    Some((last, standing)) if *standing == Standing::Own || rank > 0 => ring.and_opens(last),
                    _ => ring,
                };
                match &mut self.last {
                    Some((_, Standing::Own)) => {}
                    last if rank == 0 => *last = Some((ring.clone(), Standing::First)),
                    _ => {}
                }
                Ok(ring)
            }
            KeyringSource::Made(made) => {
                made.ring(self.env.clock.wall(), &*self.env.random).map_err(|error| error.to_string())
            }
            KeyringSource::Nowhere => Keyring::own().map_err(|error| error.to_string()),
        }
    }

    /// Publishes the ring after every read. If a read fails, the last ring stays in use.
    async fn keep(mut self, sealer: Arc<Sealer>, mut requests: KeyringRequests, refresh: Duration) {
        let pace = match self.source {
            KeyringSource::Nowhere => return,
            KeyringSource::Made(_) => PACES[0],
            KeyringSource::Store(..) => PACES[1],
        };
        loop {
            let asked = tokio::select! {
                asked = requests.asked() => match asked {
                    Some(asked) => asked,
                    None => return,
                },
                () = tokio::time::sleep(refresh) => Vec::new(),
            };
            let read = match self.read().await {
                Ok(ring) => {
                    sealer.publish(ring);
                    true
                }
                Err(cause) => {
                    if self.failed.now() {
                        tracing::warn!(owner = "store", cause, "cannot read the key ring; the gate keeps the last one");
                    }
                    false
                }
            };
            for one in asked {
                match one {
                    KeyringRequest::Read(tell) => drop(tell.send(read)),
                    KeyringRequest::Rotate(tell) => drop(tell.send(self.rotate(&sealer))),
                }
            }
            tokio::time::sleep(pace).await;
        }
    }

    fn rotate(&self, sealer: &Sealer) -> Result<usize, String> {
        let KeyringSource::Made(made) = &self.source else {
            return Err("the key ring is in a store: put the new key in front of the others there".to_owned());
        };
        let ring = made.rotate(self.env.clock.wall(), &*self.env.random).map_err(|error| error.to_string())?;
        let count = ring.len();
        sealer.publish(ring);
        tracing::info!(keys = count, "added a key to the ring for the operator");
        Ok(count)
    }
}
