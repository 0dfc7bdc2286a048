//! Writes down when the gate's own address towards an account changes.

use super::generations::Generations;
use crate::base::epoch::EpochMillis;
use crate::telemetry::act::{self, Act};

/// Writes what has changed since the last call.
pub(super) fn look(generations: &Generations) {
    let services = &generations.services;
    for (name, account) in &generations.current.load().accounts {
        for (age, addresses) in account.address_changes() {
            let at = services.env.clock.wall().checked_sub(age).map(EpochMillis::of);
            let act = Act::of(act::GATE_ADDRESS, format!("account {name}: {addresses}"));
            services.sinks.act_at(at.unwrap_or_default(), act);
        }
    }
}
