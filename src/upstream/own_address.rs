//! [`OwnAddress`]: the address that the gate has for an account's Snowflake. A network policy lists it, so that a
//! change of it breaks every login.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many changes wait to be written down.
const MOST: usize = 16;

/// What is known of the gate's address towards one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The address of this machine that the last connection came from.
    local: Option<IpAddr>,
    /// The address that Snowflake last named: behind a gateway it is another one.
    seen: Option<IpAddr>,
}

/// The same, with the changes that nobody has written down yet.
#[derive(Debug, Default)]
pub struct OwnAddress(Mutex<(Addresses, Vec<(Instant, Addresses)>)>);

impl OwnAddress {
    pub(super) fn connected_from(&self, local: IpAddr) {
        self.change(|now| now.local = Some(local));
    }

    pub(super) fn seen_as(&self, address: IpAddr) {
        self.change(|now| now.seen = Some(address));
    }

    /// The changes since the last call, each with its age.
    pub(super) fn changes(&self) -> Vec<(Duration, Addresses)> {
        let changes = std::mem::take(&mut self.0.lock().1);
        changes.into_iter().map(|(at, addresses)| (at.elapsed(), addresses)).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Addresses)) {
        let mut state = self.0.lock();
        let before = state.0;
        change(&mut state.0);
        if state.0 != before && state.1.len() < MOST {
            let now = state.0;
            state.1.push((Instant::now(), now));
        }
    }
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.local, self.seen) {
            (Some(local), Some(seen)) => write!(f, "from {local}, which Snowflake sees as {seen}"),
            (Some(local), None) => write!(f, "from {local}"),
            (None, Some(seen)) => write!(f, "Snowflake sees {seen}"),
            (None, None) => write!(f, "not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_change_is_told_once_and_with_its_age() {
        let own = OwnAddress::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        for local in [one, one, other] {
            own.connected_from(local);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        own.seen_as(one);
        let told: Vec<_> = own.changes().iter().map(|(age, now)| format!("{} s: {now}", age.as_secs())).collect();
        assert_eq!(
            told,
            ["3 s: from 10.0.0.1", "1 s: from 10.0.0.2", "0 s: from 10.0.0.2, which Snowflake sees as 10.0.0.1"]
        );
        own.seen_as(one);
        assert!(own.changes().is_empty());
    }
}
