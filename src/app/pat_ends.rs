//! [`PatEnds`]: what the log says of PATs that end soon, while the gate runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::generations::Generations;
use crate::base::rfc3339;
use crate::pat::Warnings;

/// How often the gate looks.
const EVERY: Duration = Duration::from_secs(10);

/// The ends of all PATs.
pub(super) struct PatEnds {
    generations: Arc<Generations>,
    warnings: Warnings,
    next: Instant,
}

impl PatEnds {
    /// Those of these generations.
    pub(super) fn new(generations: Arc<Generations>) -> Self {
        Self { generations, warnings: Warnings::default(), next: Instant::now() }
    }

    /// Writes what is due: that a PAT ends soon, each time that `pat.warn` names, and that it has ended.
    pub(super) async fn look(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        let generation = self.generations.current.load_full();
        let (pats, now) = (generation.pats.status().await, self.generations.services.env.clock.wall());
        for warning in self.warnings.due(&pats, now) {
            let (credential, pat, next_step) = (warning.credential, warning.version, warning.attention);
            let (ends, days_left) = (rfc3339::show(warning.ends), warning.days_left);
            match warning.ended {
                true => tracing::error!(credential, %pat, ends, next_step, owner = "snowflake", "a PAT has ended"),
                false => {
                    let what = "a PAT ends soon, and no successor stands ready";
                    tracing::warn!(credential, %pat, ends, days_left, next_step, owner = "snowflake", "{what}");
                }
            }
        }
    }
}
