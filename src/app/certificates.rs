//! [`Certificates`]: what the log says of the listeners' certificates while the gate runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::generations::Generations;
use crate::base::rfc3339;
use crate::tls::ServerCertificate;
use crate::tls::expiry::{Expiry, Notice};

/// The certificates of all listeners.
pub struct Certificates {
    generations: Arc<Generations>,
    expiry: Expiry,
    /// Those whose mistakes were told.
    seen: BTreeMap<Arc<str>, Arc<ServerCertificate>>,
}

impl Certificates {
    /// Those of these generations.
    pub(super) fn new(generations: Arc<Generations>) -> Self {
        Self { generations, expiry: Expiry::default(), seen: BTreeMap::new() }
    }

    /// Writes what is due: that a certificate ends soon, that it has ended, and once what else is wrong with it.
    pub(super) fn look(&mut self) {
        let now = self.generations.services.env.clock.wall();
        for (listener, certificate) in self.generations.certificates() {
            let (file, subject) = (certificate.path.display(), &*certificate.subject);
            let [from, until] = [certificate.starts, certificate.ends].map(rfc3339::show);
            match self.expiry.look(&listener, &certificate, now) {
                Some(Notice::Invalid) => tracing::error!(
                    owner = "gate", listener = &*listener, %file, subject, from, until,
                    next_step = "put a certificate that is valid now into this file, with its key; the gate takes it \
                                 up by itself. If this one should be valid, correct the clock of this machine",
                    "the certificate of this listener is not valid now; every tool refuses the connection"
                ),
                Some(Notice::Soon) => tracing::warn!(
                    owner = "gate", listener = &*listener, %file, subject, until,
                    days_left = certificate.left(now).as_secs() / 86_400,
                    next_step = "renew it, and put it into this file; the gate takes it up by itself",
                    "the certificate of this listener ends soon"
                ),
                None => {}
            }
            if self.seen.get(&listener) != Some(&certificate) {
                warn_of_flaws(&listener, &certificate);
                self.seen.insert(listener, certificate);
            }
        }
    }
}

/// Writes the mistakes in a chain that TLS can use and tools may refuse.
fn warn_of_flaws(listener: &str, certificate: &ServerCertificate) {
    for flaw in &certificate.flaws {
        tracing::warn!(
            owner = "gate", listener, file = %certificate.path.display(), cause = flaw.what(),
            next_step = flaw.remedy(),
            "tools may refuse the certificate of this listener"
        );
    }
}
