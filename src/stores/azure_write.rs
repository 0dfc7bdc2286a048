//! Writes to Azure Key Vault: a new version of the secret, with the content type and the tags of the old one.
//!
//! Facts: a set makes a new version and takes no condition (Azure Key Vault REST API, "Set Secret"); the right is
//! `secrets/set`, in the role *Key Vault Secrets Officer*. Attributes such as an end belong to one version and are not
//! taken over.

use azure_security_keyvault_secrets::SecretClient;
use azure_security_keyvault_secrets::models::SetSecretParameters;

use super::super::login::with_login;
use super::super::write::{Write, WriteError};
use super::{Azure, Failed, StoreError, explain, get, refusal, version_of};

const RIGHT: &str = "the right to set secrets, as the role Key Vault Secrets Officer has it";

impl Azure {
    pub(super) async fn write_secret(&self, write: Write<'_>) -> Result<String, WriteError> {
        if write.path.contains('/') {
            let text = "the reference names a version, which never changes: remove it to have the gate write";
            return Err(StoreError::Refused(text.into()).into());
        }
        let over = Failed::is_over;
        let old = with_login!(self, client => get(&client, write.path, None), unless over);
        let old = old.map_err(|error| explain(&error))?;
        let now = version_of(&old);
        if now != write.before {
            return Err(WriteError::changed(write.before, &now));
        }
        let wanted = SetSecretParameters {
            content_type: old.content_type,
            tags: old.tags,
            value: Some(write.value.expose().to_owned()),
            ..SetSecretParameters::default()
        };
        let set = with_login!(self, client => set(&client, write.path, &wanted), unless over);
        set.map_err(|failed| {
            let forbidden =
                matches!(&failed, Failed::Sdk(error) if refusal(error).is_some_and(|it| u16::from(it.0) == 403));
            let told = WriteError::sent(explain(&failed));
            if forbidden { told.without_right(RIGHT) } else { told }
        })
    }
}

async fn set(client: &SecretClient, name: &str, wanted: &SetSecretParameters) -> Result<String, Failed> {
    let body = wanted.clone().try_into()?;
    Ok(version_of(&client.set_secret(name, body, None).await?.into_model()?))
}
