//! The keeper of the ring: reads it where it is kept, publishes it, and reads it again when it is time or a request
//! needs it.

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

/// The least time between two reads of a file, and of a store: anybody may send a token that names an unknown key.
const PACES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Where the ring is kept.
enum KeyringSource {
    /// In a store; the operator changes it.
    Store(Arc<Resolver>, SecretRefs),
    /// In the state directory; the gate changes it.
    Made(KeyFile),
    /// In memory, until the process ends.
    Nowhere,
}

/// Opens the ring and keeps it. A store that is away must not keep the gate from starting: until it answers, a key of
/// this process's own seals, and it goes on opening after that.
///
/// # Errors
/// When the state directory's ring cannot be used.
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
    /// What was published last, as far as it goes on opening whatever is read next.
    last: Option<(Keyring, Standing)>,
    failed: LogThrottle,
}

/// Where a ring came from that goes on opening.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A key of this process's own, from before the store first answered.
    Own,
    /// The first reference, which a fallback may be behind of.
    First,
}

impl Keeper {
    /// Reads the ring. What a fallback says adds keys and takes none away: it may be behind.
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

    /// Publishes the ring whenever it is read. One that cannot be read leaves the last one in use.
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
