//! The keeper of the ring: reads it where it is kept, publishes it, and reads it again when it is time or a request needs it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Seams;
use crate::base::names::SecretRefs;
use crate::config::Seal;
use crate::proxy::Sealing;
use crate::secrets::Reader;
use crate::session::{Keys, MadeKeys, Reread, Revoked, Ring, Sessions};
use crate::state::StateDir;
use crate::telemetry::rarely::Rarely;

/// The least time between two reads: anybody may send a token that names an unknown key.
const PACE: Duration = Duration::from_millis(100);

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
    let mut keeper = Keeper { place, seams: seams.clone(), own: None, failed: Rarely::default() };
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
            keeper.own = Some(own.clone());
            own
        }
    };
    let (keys, reread) = Keys::new(ring);
    let revoked = Revoked::open(state.cloned())?;
    tokio::spawn(keeper.keep(keys.clone(), reread, settings.refresh));
    let (clock, random) = (seams.clock.clone(), seams.random.clone());
    Ok(Arc::new(Sealing { keys, sessions: Sessions::default(), revoked, clock, random }))
}

struct Keeper {
    place: Place,
    seams: Seams,
    /// The key that sealed while the store did not answer.
    own: Option<Ring>,
    failed: Rarely,
}

impl Keeper {
    async fn read(&self) -> Result<Ring, String> {
        let ring = match &self.place {
            Place::Store(reader, references) => {
                let text = reader.text(references).await.map_err(|error| error.to_string())?;
                Ring::parse(&text).map_err(|error| format!("{references}: {error}"))?
            }
            Place::Made(made) => {
                made.ring(self.seams.clock.wall(), &*self.seams.random).map_err(|error| error.to_string())?
            }
            Place::Nowhere => Ring::own().map_err(|error| error.to_string())?,
        };
        Ok(match &self.own {
            Some(own) => ring.and_opens(own),
            None => ring,
        })
    }

    /// Publishes the ring whenever it is read. One that cannot be read leaves the last one in use.
    async fn keep(self, keys: Arc<Keys>, mut reread: Reread, refresh: Duration) {
        if matches!(self.place, Place::Nowhere) {
            return;
        }
        loop {
            let waiting = tokio::select! {
                waiting = reread.asked() => match waiting {
                    Some(waiting) => Some(waiting),
                    None => return,
                },
                () = tokio::time::sleep(refresh) => None,
            };
            match self.read().await {
                Ok(ring) => keys.publish(ring),
                Err(cause) if self.failed.now() => {
                    tracing::warn!(
                        owner = "store",
                        cause,
                        "the ring of keys cannot be read; the last one goes on serving"
                    );
                }
                Err(_) => {}
            }
            drop(waiting);
            tokio::time::sleep(PACE).await;
        }
    }
}
