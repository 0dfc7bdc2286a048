//! [`KeyPairs`]: the private keys that were read, so that the gate opens an encrypted one once a version, and not at
//! each read: that may take as long as a login.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::StoreError;
use crate::base::names::SecretRef;
use crate::base::secret::Secret;
use crate::snowflake::login_secret::LoginSecret;

/// The last key of each reference.
#[derive(Default)]
pub(super) struct KeyPairs(Mutex<HashMap<SecretRef, LoginSecret>>);

impl KeyPairs {
    /// The secret in a PEM that a reference has given.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], which says what the text is in place of a key, and quotes nothing.
    pub(super) fn read(
        &self,
        reference: &SecretRef,
        pem: Secret,
        passphrase: Option<Secret>,
    ) -> Result<LoginSecret, StoreError> {
        let last = self.0.lock().get(reference).cloned();
        if let Some(last) = last.filter(|last| last.is_made_of(&pem, passphrase.as_ref())) {
            return Ok(last);
        }
        let read = LoginSecret::key_pair(pem, passphrase);
        let read = read.map_err(|error| StoreError::Unusable(error.to_string()))?;
        self.0.lock().insert(reference.clone(), read.clone());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_again_only_when_it_or_its_passphrase_has_changed() {
        let (keys, reference) = (KeyPairs::default(), SecretRef::parse("s:key").unwrap());
        let read = |pem: &str, phrase: Option<&str>| {
            let phrase = phrase.map(|phrase| Secret::new(phrase.into()));
            keys.read(&reference, Secret::new(pem.into()), phrase)
        };
        let pem = include_str!("../../tests/keys/ec.pem");
        let (first, again) = (read(pem, None).ok().unwrap(), read(pem, None).ok().unwrap());
        let (LoginSecret::KeyPair(first), LoginSecret::KeyPair(again)) = (first, again) else { panic!() };
        assert!(std::sync::Arc::ptr_eq(&first, &again));
        let Ok(LoginSecret::KeyPair(other)) = read(pem, Some("x")) else { panic!() };
        assert!(!std::sync::Arc::ptr_eq(&first, &other));
        let refused = read("canary", None).err().unwrap();
        assert!(matches!(&refused, StoreError::Unusable(text) if text.contains("no PEM") && !text.contains("canary")));
    }
}
