//! [`Upkeep`]: a client's limits on heartbeats, cancellations, logouts, renewals and telemetry.
//!
//! These requests must not wait behind the requests that they concern, so they have a rate and places of their own.
//! Each gate counts its own, also where replicas share the other limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::rate::MultiRateLimiter;
use crate::base::clock::Clock;
use crate::base::fault::{Fault, Kind};
use crate::base::names::ClientName;
use crate::config::ClientLimits;

/// What it counts, in texts.
const WHAT: &str = "heartbeats, cancellations, logouts, renewals and telemetry";

/// The limits of one client.
pub(super) struct Upkeep {
    rates: Arc<MultiRateLimiter>,
    places: (usize, Arc<Semaphore>),
}

impl Upkeep {
    /// The limits of a configuration. Unchanged limits of `before` keep their counts.
    pub(super) fn new(limits: &ClientLimits, before: Option<&Self>, clock: &Arc<dyn Clock>) -> Self {
        let most = limits.upkeep_in_flight;
        let rates = before.map(|before| &before.rates).filter(|before| *before.rates() == limits.upkeep);
        let places = before.map(|before| &before.places).filter(|(before, _)| *before == most);
        Self {
            rates: rates.cloned().unwrap_or_else(|| Arc::new(MultiRateLimiter::new(&limits.upkeep, clock))),
            places: places.cloned().unwrap_or_else(|| (most, Arc::new(Semaphore::new(most)))),
        }
    }

    /// Waits for the rate and for a place, both within one time.
    pub(super) async fn permit(&self, within: Duration, client: &ClientName) -> Result<OwnedSemaphorePermit, Fault> {
        let started = Instant::now();
        let over = |wait: Duration| {
            let text = format!(
                "this client has made too many {WHAT}; the next is possible in {} s",
                wait.as_secs_f64().ceil()
            );
            let cause = format_args!("limits.upkeep of client {client} is reached");
            Fault::new(Kind::RequestLimit).with_cause(cause).detail(text).after(wait)
        };
        self.rates.wait(|wait| started.elapsed() + wait <= within).await.map_err(over)?;
        let (most, places) = &self.places;
        match timeout_at(started + within, places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let text =
                    format!("this client has {most} {WHAT} under way; the next is possible when one of them ends");
                let cause = format_args!("limits.upkeep_in_flight of client {client}");
                Err(Fault::new(Kind::RequestLimit).detail(text).with_cause(cause))
            }
        }
    }
}
