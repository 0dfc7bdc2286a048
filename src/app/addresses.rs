//! [`GateAddresses`]: what is written down of the gate's own address towards each account, when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::generations::Generations;
use crate::telemetry::act::{self, Act};
use crate::upstream::Addresses;

/// The addresses that were written down.
pub(super) struct GateAddresses {
    generations: Arc<Generations>,
    told: BTreeMap<Arc<str>, Addresses>,
}

impl GateAddresses {
    /// None yet.
    pub(super) fn new(generations: Arc<Generations>) -> Self {
        Self { generations, told: BTreeMap::new() }
    }

    /// Writes what has changed.
    pub(super) fn look(&mut self) {
        let generation = self.generations.current.load();
        for (name, account) in &generation.accounts {
            let now = account.own_address();
            if now != Addresses::default() && self.told.get(name) != Some(&now) {
                self.generations.services.act(Act::of(act::GATE_ADDRESS, format!("account {name}: {now}")));
                self.told.insert(name.clone(), now);
            }
        }
    }
}
