//! Who a request is from: by its key, else by its connection, and where clients say so by the user name that was typed.

use subtle::{Choice, ConstantTimeEq};

use super::grant::Grant;
use super::key::{ClientKey, NoKey};
use super::peer::Peer;
use super::{Admission, Entry};
use crate::base::fault::{Fault, Kind};
use crate::base::ids::KeyTag;
use crate::base::names::ClientName;
use crate::base::secret::Secret;

/// What a request shows besides its connection.
#[derive(Default)]
pub struct Shown<'a> {
    /// The credential.
    pub secret: Option<&'a Secret>,
    /// `LOGIN_NAME`, as it was typed; a REST request has none.
    pub login_name: Option<&'a str>,
}

impl Admission {
    /// Identifies the client.
    pub(super) fn identify(&self, peer: &Peer, shown: &Shown<'_>) -> Result<(&Entry, Grant), Fault> {
        let named = match shown.secret {
            Some(secret) => self.by_key(peer, secret),
            None => Err(Fault::new(Kind::KeyMissing).detail("no client key")),
        };
        match named {
            Ok((entry, grant)) => {
                entry.allows(shown.login_name, grant.client())?;
                Ok((entry, grant))
            }
            // Without a client key, only the connection can identify the client.
            Err(fault) if matches!(fault.kind(), Kind::KeyMissing | Kind::KeyForeign) => {
                let (entry, grant) = self.without_key(peer, shown)?.ok_or(fault)?;
                Ok((entry, grant.of_login(KeyTag::NONE, entry.bound(peer))))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Identifies the client by its key.
    pub(super) fn by_key(&self, peer: &Peer, secret: &Secret) -> Result<(&Entry, Grant), Fault> {
        let key = ClientKey::parse(secret).map_err(|error| match error {
            NoKey::Damaged => Fault::new(Kind::KeyDamaged).with_cause("the key's check digits do not match"),
            NoKey::Foreign => Fault::new(Kind::KeyForeign).with_cause("the credential does not begin with pgk_"),
        })?;
        let known = self.clients.get(&key.client);
        let entry = known.unwrap_or(&self.nobody);
        let fits = entry.hashes.iter().fold(Choice::from(0), |fits, hash| fits | hash.ct_eq(&key.hash));
        let grant = match (&entry.grant, bool::from(fits)) {
            (Some(grant), true) => grant,
            (Some(_), false) => {
                return Err(Fault::new(Kind::KeyWrong).with_cause(format_args!("wrong key for client {}", key.client)));
            }
            (None, _) => {
                return Err(Fault::new(Kind::ClientUnknown).with_cause(format_args!("no client {}", key.client)));
            }
        };
        entry.fits(peer, &key.client)?;
        Ok((entry, grant.of_login(KeyTag::of_hash(&key.hash), entry.bound(peer))))
    }

    /// The client without a key that this peer is, by its certificate or as a local program. The configuration's check
    /// refuses ambiguous clients that it can see. A certificate with the names of two clients shows only here; it
    /// identifies no client.
    fn without_key(&self, peer: &Peer, shown: &Shown<'_>) -> Result<Option<(&Entry, &Grant)>, Fault> {
        let keyless = self.clients.iter().filter(|(_, entry)| !entry.keyed && entry.asks_for_something());
        let fits = |name: &ClientName, entry: &Entry| {
            entry.fits(peer, name).and_then(|()| entry.allows(shown.login_name, name)).is_ok()
        };
        let mut fitting = keyless.filter(|(name, entry)| fits(name, entry));
        match (fitting.next(), fitting.next()) {
            (Some((one, _)), Some((other, _))) => Err(Fault::new(Kind::PeerDenied)
                .detail("the gate cannot tell which client this is")
                .with_cause(format_args!("the connection fits client {one} and client {other}"))),
            (Some((_, entry)), None) => Ok(entry.grant.as_ref().map(|grant| (entry, grant))),
            (None, _) => Ok(None),
        }
    }
}

impl Entry {
    /// Whether this client's tools may type that user name. It limits a client; it never takes the place of a key.
    pub(super) fn allows(&self, typed: Option<&str>, name: &ClientName) -> Result<(), Fault> {
        let is_one = |typed: &str| self.login_names.iter().any(|one| one.is(typed));
        match typed {
            _ if self.login_names.is_empty() => Ok(()),
            Some(typed) if is_one(typed) => Ok(()),
            _ => Err(Fault::new(Kind::PeerDenied)
                .detail("it must log in under a user name that is meant for it")
                .with_cause(format_args!("client {name}: the user name is none of its login_names"))),
        }
    }
}
