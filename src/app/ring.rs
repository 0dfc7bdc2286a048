//! The keeper of the ring: reads it where it is kept, publishes it, and reads it again when it is time or a request needs it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Seams;
use crate::base::names::SecretRefs;
use crate::config::Seal;
use crate::proxy::Sealing;
use crate::secrets::Reader;
use crate::session::{Asked, Keys, MadeKeys, Reread, Revoked, Ring, Sessions};
use crate::state::StateDir;
use crate::telemetry::rarely::Rarely;

/// The least time between two reads of a file, and of a store: anybody may send a token that names an unknown key.
const PACES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Where the ring is kept.
enum Place {
    /// In a store; the operator changes it.
    Store(Arc<Reader>, SecretRefs),
    /// In the state directory; the gate changes it.
    Made(MadeKeys),
    /// In memory, until the process ends.
    Nowhere,
}

/// Sets sealing up. A store that is away must not keep the gate from starting: until it answers, a key of this process's own
/// seals, and it goes on opening after that.
///
/// # Errors
/// When the state directory's ring cannot be used.
pub(super) async fn open(
    settings: &Seal,
    reader: &Arc<Reader>,
    state: Option<&StateDir>,
    seams: &Seams,
) -> io::Result<Arc<Sealing>> {
    let place = match (&settings.keys, state) {
        (Some(references), _) => Place::Store(reader.clone(), references.clone()),
        (None, Some(state)) => Place::Made(MadeKeys::new(state.clone(), settings.rotate, settings.keep)),
        (None, None) => {
            tracing::warn!("there is no state directory: sessions do not survive a restart of the gate");
            Place::Nowhere
        }
    };
    let mut keeper = Keeper { place, seams: seams.clone(), last: None, failed: Rarely::default() };
    let ring = match keeper.read().await {
        Ok(ring) => ring,
        Err(cause) if matches!(keeper.place, Place::Made(_)) => return Err(io::Error::other(cause)),
        Err(cause) => {
            tracing::error!(
                owner = "store",
                cause,
                "seal.keys cannot be read; a key of this process's own seals for now"
            );
            let own = Ring::own().map_err(io::Error::other)?;
            keeper.last = Some((own.clone(), Standing::Own));
            own
        }
    };
    let (keys, reread) = Keys::new(ring);
    let revoked = Revoked::open(state.cloned())?;
    tokio::spawn(keeper.keep(keys.clone(), reread, settings.refresh));
    Ok(Arc::new(Sealing {
        keys,
        sessions: Sessions::default(),
        revoked,
        longest: settings.keep,
        clock: seams.clock.clone(),
        random: seams.random.clone(),
    }))
}

struct Keeper {
    place: Place,
    seams: Seams,
    /// What was published last, as far as it goes on opening whatever is read next.
    last: Option<(Ring, Standing)>,
    failed: Rarely,
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
    async fn read(&mut self) -> Result<Ring, String> {
        match &self.place {
            Place::Store(reader, references) => {
                let (text, rank) = reader.text(references).await.map_err(|error| error.to_string())?;
                let ring = Ring::parse(&text).map_err(|error| format!("{references}: {error}"))?;
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
            Place::Made(made) => {
                made.ring(self.seams.clock.wall(), &*self.seams.random).map_err(|error| error.to_string())
            }
            Place::Nowhere => Ring::own().map_err(|error| error.to_string()),
        }
    }

    /// Publishes the ring whenever it is read. One that cannot be read leaves the last one in use.
    async fn keep(mut self, keys: Arc<Keys>, mut reread: Reread, refresh: Duration) {
        let pace = match self.place {
            Place::Nowhere => return,
            Place::Made(_) => PACES[0],
            Place::Store(..) => PACES[1],
        };
        loop {
            let asked = tokio::select! {
                asked = reread.asked() => match asked {
                    Some(asked) => asked,
                    None => return,
                },
                () = tokio::time::sleep(refresh) => Vec::new(),
            };
            let read = match self.read().await {
                Ok(ring) => {
                    keys.publish(ring);
                    true
                }
                Err(cause) => {
                    if self.failed.now() {
                        tracing::warn!(
                            owner = "store",
                            cause,
                            "the ring of keys cannot be read; the last one goes on serving"
                        );
                    }
                    false
                }
            };
            for one in asked {
                match one {
                    Asked::Read(tell) => drop(tell.send(read)),
                    Asked::Rotate(tell) => drop(tell.send(self.rotate(&keys))),
                }
            }
            tokio::time::sleep(pace).await;
        }
    }

    fn rotate(&self, keys: &Keys) -> Result<usize, String> {
        let Place::Made(made) = &self.place else {
            return Err("the ring is kept in a store: put the new key in front of the others there".to_owned());
        };
        let ring = made.rotate(self.seams.clock.wall(), &*self.seams.random).map_err(|error| error.to_string())?;
        let count = ring.len();
        keys.publish(ring);
        tracing::info!(keys = count, "a key was added to the ring because somebody asked for it");
        Ok(count)
    }
}
