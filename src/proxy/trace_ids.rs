//! [`TraceIds`]: new trace ids. One draw of random bytes gives many ids.

use parking_lot::Mutex;

use crate::base::clock::Random;
use crate::base::names::TraceId;

/// How many ids one draw gives.
const STOCK: usize = 64;

/// A worker's stock of random bytes.
pub(super) struct TraceIds(Mutex<Stock>);

struct Stock {
    bytes: [u8; STOCK * 16],
    used: usize,
}

impl Default for TraceIds {
    fn default() -> Self {
        Self(Mutex::new(Stock { bytes: [0; STOCK * 16], used: STOCK }))
    }
}

impl TraceIds {
    /// A new id.
    pub(super) fn next(&self, random: &dyn Random) -> TraceId {
        let mut stock = self.0.lock();
        if stock.used == STOCK {
            // Without entropy the gate uses the old bytes again: an id that is not unique is better than no answer.
            let _stale = random.fill(&mut stock.bytes);
            stock.used = 0;
        }
        let at = stock.used * 16;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&stock.bytes[at..at + 16]);
        stock.used += 1;
        TraceId::from_bytes(bytes)
    }
}
