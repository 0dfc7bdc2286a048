//! [`Sealer`]: the key ring in use, and the form of a sealed token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::content::Ticket;
use super::keyring::{Keyring, KeyringError, name_in};
use crate::base::names::SEALED_PREFIX;

/// The longest token that the gate reads. The gate's own have some 600 characters.
const LONGEST: usize = 16 << 10;
/// How long a request waits for the next read of the ring.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many requests may wait for it.
const WAITING: usize = 1024;

/// The ring in use. Readers get the whole ring without a lock.
pub struct Sealer {
    keyring: ArcSwap<Keyring>,
    ask: mpsc::Sender<KeyringRequest>,
}

/// The keeper's end: it receives the requests to the keeper of the ring.
pub struct KeyringRequests(mpsc::Receiver<KeyringRequest>);

/// A request to the keeper of a ring.
pub enum KeyringRequest {
    /// Read it again; the answer says whether the read succeeded.
    Read(oneshot::Sender<bool>),
    /// Add a key; the answer is the new number of keys, or why it failed.
    Rotate(oneshot::Sender<Result<usize, String>>),
}

/// Why the gate cannot open a text. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It is not a sealed token.
    #[error("it is not a sealed token of this gate")]
    Foreign,
    /// It names a key that is not on the ring, and the gate cannot read the ring now.
    #[error("its key is unknown, and the gate cannot read the key ring now")]
    Later,
    /// It names a key that is not on the ring.
    #[error("its key is not on the ring: it is too old, another gate's, or forged")]
    Key,
    /// The key does not fit.
    #[error("it was changed on its way, or is forged")]
    Seal,
}

impl Sealer {
    /// The first ring.
    pub fn new(keyring: Keyring) -> (Arc<Self>, KeyringRequests) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Arc::new(Self { keyring: ArcSwap::from_pointee(keyring), ask }), KeyringRequests(asked))
    }

    /// Replaces the ring.
    pub fn publish(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
    }

    /// Asks the keeper to add a key, which then seals; returns the new number of keys.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub async fn rotate(&self) -> Result<usize, String> {
        let (tell, told) = oneshot::channel();
        let gone = || "this key ring has no source: it lasts as long as the process".to_owned();
        self.ask.send(KeyringRequest::Rotate(tell)).await.map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Asks the keeper to read the ring; returns whether it succeeded. A ring without a keeper has nothing to read.
    async fn read_again(&self) -> bool {
        let (tell, told) = oneshot::channel();
        match self.ask.try_send(KeyringRequest::Read(tell)) {
            Ok(()) => matches!(timeout(PATIENCE, told).await, Ok(Ok(true))),
            Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// A sealed token: ASCII letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`KeyringError::Crypto`], [`KeyringError::TooLong`].
    pub fn seal(&self, ticket: &Ticket) -> Result<String, KeyringError> {
        let sealed = self.keyring.load().seal(&ticket.write().ok_or(KeyringError::TooLong)?)?;
        let mut text = String::with_capacity(SEALED_PREFIX.len() + sealed.len().div_ceil(3) * 4);
        text.push_str(SEALED_PREFIX);
        BASE64_URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
        // The gate must not send a token that it cannot open again.
        if text.len() > LONGEST { Err(KeyringError::TooLong) } else { Ok(text) }
    }

    /// Opens a sealed token. If its key is unknown, the gate reads the ring again first: another replica may have begun
    /// to use a new key.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub async fn open(&self, text: &str) -> Result<Ticket, NotOpened> {
        let encoded = text.strip_prefix(SEALED_PREFIX).filter(|_| text.len() <= LONGEST).ok_or(NotOpened::Foreign)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| NotOpened::Foreign)?;
        let id = name_in(&sealed).ok_or(NotOpened::Foreign)?;
        let read = self.keyring.load().knows(id) || self.read_again().await;
        let keyring = self.keyring.load();
        if !keyring.knows(id) {
            return Err(if read { NotOpened::Key } else { NotOpened::Later });
        }
        keyring.open(&sealed).and_then(|bytes| Ticket::read(&bytes)).ok_or(NotOpened::Seal)
    }
}

impl KeyringRequests {
    /// Waits for requests and returns all that are waiting; `None` if no more can come.
    pub async fn asked(&mut self) -> Option<Vec<KeyringRequest>> {
        let mut all = Vec::new();
        (self.0.recv_many(&mut all, WAITING).await > 0).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::ticket::content::tests::ticket;

    fn keyring(letter: &str) -> Keyring {
        Keyring::parse(&Secret::new(letter.repeat(44))).unwrap()
    }

    #[tokio::test]
    async fn a_ticket_comes_back_and_a_token_can_stand_in_a_header() {
        let (sealer, _reread) = Sealer::new(keyring("a"));
        let sealed = sealer.seal(&ticket()).unwrap();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{sealed}");
        assert!(!sealed.contains("canary") && sealed.len() < 2048);
        let opened = sealer.open(&sealed).await.unwrap();
        assert!(opened.token.same_as(&ticket().token) && opened.session == ticket().session);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_has_the_ring_read_again_before_it_is_refused() {
        let (ours, mut reread) = Sealer::new(keyring("a"));
        let (theirs, _) = Sealer::new(keyring("b"));
        let sealed = theirs.seal(&ticket()).unwrap();
        let keeper = tokio::spawn({
            let ours = ours.clone();
            async move {
                let asked = reread.asked().await.unwrap().pop().unwrap();
                ours.publish(Keyring::parse(&Secret::new(["a".repeat(44), "b".repeat(44)].join(","))).unwrap());
                let KeyringRequest::Read(tell) = asked else { panic!() };
                tell.send(true).unwrap();
                reread
            }
        });
        assert!(ours.open(&sealed).await.is_ok());
        let _reread = keeper.await.unwrap();
        let (forged, _) = Sealer::new(keyring("c"));
        let forged = forged.seal(&ticket()).unwrap();
        assert_eq!(ours.open(&forged).await.unwrap_err(), NotOpened::Later, "and nobody waits for ever");
    }

    #[tokio::test]
    async fn junk_is_told_apart_from_forgery() {
        let (sealer, reread) = Sealer::new(keyring("a"));
        drop(reread);
        let sealed = sealer.seal(&ticket()).unwrap();
        let last = if sealed.ends_with('A') { "B" } else { "A" };
        for (text, why) in [
            ("", NotOpened::Foreign),
            ("ver:3-hint:1-session", NotOpened::Foreign),
            ("pgs1_", NotOpened::Foreign),
            ("pgs1_AAA", NotOpened::Foreign),
            ("pgs1_A!==", NotOpened::Foreign),
            (&format!("pgs1_{}", "A".repeat(17_000)), NotOpened::Foreign),
            ("pgs1_AAAAAAAAAAAA", NotOpened::Key),
            (&sealed[..sealed.len() - 4], NotOpened::Seal),
            (&format!("{}{last}", &sealed[..sealed.len() - 1]), NotOpened::Seal),
        ] {
            let opened = sealer.open(text).await;
            // The last character of an unpadded text can have unused bits; a text in which they are set is not valid
            // base64.
            assert!(opened.as_ref().is_err_and(|error| *error == why || *error == NotOpened::Foreign), "{text}");
        }
    }

    /// A million forgeries of every kind: none opens, and none makes the gate panic. The seed is fixed, so that a
    /// failure is reproducible; `tests/fuzz` goes further.
    #[tokio::test]
    async fn no_forgery_opens() {
        let (sealer, reread) = Sealer::new(keyring("a"));
        drop(reread);
        let originals = [sealer.seal(&ticket()).unwrap(), sealer.seal(&ticket()).unwrap()];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut dice = |sides: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % sides
        };
        for number in 0..1_000_000 {
            let mut bytes = originals[dice(2)].clone().into_bytes();
            let at = dice(bytes.len());
            match dice(5) {
                0 => bytes[at] ^= 1 << dice(7),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, u8::try_from(32 + dice(95)).unwrap()),
                3 => bytes[at..].copy_from_slice(&originals[dice(2)].as_bytes()[at..]),
                _ => bytes[5 + at.saturating_sub(5)..].fill_with(|| b"AZaz09-_"[dice(8)]),
            }
            let Ok(forged) = String::from_utf8(bytes) else { continue };
            if originals.contains(&forged) {
                continue;
            }
            assert!(sealer.open(&forged).await.is_err(), "number {number}: {forged}");
        }
    }
}
