//! [`TraceIds`]: new ids of traces and spans. One draw of random bytes gives many.

use parking_lot::Mutex;

use crate::base::clock::Random;
use crate::base::trace::{SpanId, TraceId};

/// How many pairs of ids one draw gives.
const STOCK: usize = 64;
/// The bytes of a pair.
const PAIR: usize = 24;

/// A worker's stock of random bytes.
pub(super) struct TraceIds(Mutex<Stock>);

struct Stock {
    bytes: [u8; STOCK * PAIR],
    used: usize,
}

impl Default for TraceIds {
    fn default() -> Self {
        Self(Mutex::new(Stock { bytes: [0; STOCK * PAIR], used: STOCK }))
    }
}

impl TraceIds {
    /// New ids.
    pub(super) fn next(&self, random: &dyn Random) -> (TraceId, SpanId) {
        let mut stock = self.0.lock();
        if stock.used == STOCK {
            // Without entropy the gate uses the old bytes again: an id that is not unique is better than no answer.
            let _stale = random.fill(&mut stock.bytes);
            stock.used = 0;
        }
        let at = stock.used * PAIR;
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&stock.bytes[at..at + 16]);
        span.copy_from_slice(&stock.bytes[at + 16..at + PAIR]);
        stock.used += 1;
        (TraceId::from_bytes(trace), SpanId::from_bytes(span))
    }
}
