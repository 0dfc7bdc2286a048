//! [`Drain`]: one stop signal for everyone, and a count of those who are still at work.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Held by whoever may end the process: gives the signal, then waits for the last [`Watch`] to be dropped.
pub struct Drain {
    stop: watch::Sender<bool>,
    idle: mpsc::Receiver<()>,
}

/// Held by everything that has to finish before the process may end. Dropping it says "done".
#[derive(Clone)]
pub struct Watch {
    stop: watch::Receiver<bool>,
    _busy: mpsc::Sender<()>,
}

/// A drain and its first watch.
pub fn drain() -> (Drain, Watch) {
    let (stop, stopped) = watch::channel(false);
    let (busy, idle) = mpsc::channel(1);
    (Drain { stop, idle }, Watch { stop: stopped, _busy: busy })
}

impl Drain {
    /// Tells everyone to come to an end and waits for it, at most `deadline`; `true` when all have ended in time.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        tokio::time::timeout(deadline, self.idle.recv()).await.is_ok()
    }
}

impl Watch {
    /// Ends when the signal is given, or when the [`Drain`] is gone.
    pub async fn stopped(&mut self) {
        // An error means that the sender is gone: the process is ending too.
        let _gone = self.stop.wait_for(|stop| *stop).await;
    }

    /// The signal alone, for those whom nobody has to wait for.
    pub fn signal(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_watch_and_no_longer_than_the_deadline() {
        let (drain, mut watch) = drain();
        let worker = tokio::spawn(async move { watch.stopped().await });
        assert!(drain.stop(Duration::from_secs(5)).await);
        worker.await.unwrap();

        let (drain, watch) = super::drain();
        assert!(!drain.stop(Duration::from_secs(5)).await);
        drop(watch);
    }
}
