//! Writes to AWS Secrets Manager: a new version with the label `AWSPENDING`, which then gets `AWSCURRENT`.
//!
//! Facts (AWS Secrets Manager API reference, "PutSecretValue", "UpdateSecretVersionStage"; user guide, "Rotation
//! schedules"): a request with the token of an earlier one and the same value changes nothing; `AWSCURRENT` moves only
//! from the version that `RemoveFromVersionId` names; a label `AWSPENDING` on another version than the current one
//! means that a rotation is under way; a new version takes a label from the one that has it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::login::with_login;
use super::super::write::{Write, WriteError};
use super::{Aws, CURRENT, LOGIN_OVER, PENDING, StoreError, StoredSecret, explain_sdk};

/// What the service needs to allow.
const RIGHTS: &str = "secretsmanager:PutSecretValue and secretsmanager:UpdateSecretVersionStage, and \
                      kms:GenerateDataKey on a key of your own";

impl Aws {
    pub(super) async fn write_secret(&self, write: Write<'_>) -> Result<String, WriteError> {
        let new = request_token(write.value.expose());
        match self.read_stage(write.path, PENDING).await {
            Ok(pending) if pending.version != write.before && !is_of_a_gate(&pending) => {
                let text = format!(
                    "the version {} has the label AWSPENDING: a rotation by AWS is under way, or broke off. If none is \
                     under way, take the label off (aws secretsmanager update-secret-version-stage --secret-id {} \
                     --version-stage AWSPENDING --remove-from-version-id {})",
                    pending.version, write.path, pending.version
                );
                return Err(StoreError::Refused(text).into());
            }
            Ok(_) | Err(StoreError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let over = |failed: &Failed| failed.is_login_over;
        let put = with_login!(self, client => put(&client, write, &new), unless over);
        put.map_err(|failed| failed.error)?;
        let moved = with_login!(self, client => promote(&client, write, &new), unless over);
        match moved {
            Ok(()) => Ok(new),
            // The new version never became the current one; it must not look like a rotation that is under way.
            Err(failed) => {
                if !matches!(failed.error, WriteError::Unknown(_)) {
                    let _stays = with_login!(self, client => drop_label(&client, write, &new), unless over);
                }
                Err(failed.error)
            }
        }
    }
}

/// Whether a gate made a version: no other writer names one after its value. Where a write broke off, such a version
/// may still have the label; the next one takes it over.
fn is_of_a_gate(version: &StoredSecret) -> bool {
    version.version == request_token(version.value.expose())
}

/// The name of the new version: the same for the same value, so that a write that is repeated is one write.
fn request_token(value: &str) -> String {
    let hex = hex::encode(&digest(&SHA256, value.as_bytes()).as_ref()[..16]);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A write without a new version.
struct Failed {
    is_login_over: bool,
    error: WriteError,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { is_login_over: false, error: error.into() }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failed
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let code = error.code().unwrap_or_default().to_owned();
        let told = WriteError::sent(explain_sdk(&error));
        let told = match code.as_str() {
            "AccessDeniedException" | "AccessDenied" => told.without_right(RIGHTS),
            // The label is not on the version that it should move from.
            "InvalidParameterException" => {
                WriteError::Changed("AWSCURRENT is on another version than the one that was read".into())
            }
            _ => told,
        };
        Self { is_login_over: LOGIN_OVER.contains(&code.as_str()), error: told }
    }
}

async fn put(client: &Client, write: Write<'_>, new: &str) -> Result<(), Failed> {
    let request = client.put_secret_value().secret_id(write.path).client_request_token(new);
    request.secret_string(write.value.expose()).version_stages(PENDING).send().await?;
    Ok(())
}

async fn promote(client: &Client, write: Write<'_>, new: &str) -> Result<(), Failed> {
    let request = client.update_secret_version_stage().secret_id(write.path).version_stage(CURRENT);
    request.move_to_version_id(new).remove_from_version_id(write.before).send().await?;
    Ok(())
}

async fn drop_label(client: &Client, write: Write<'_>, new: &str) -> Result<(), Failed> {
    let request = client.update_secret_version_stage().secret_id(write.path).version_stage(PENDING);
    request.remove_from_version_id(new).send().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn a_version_of_a_gate_is_named_after_its_value() {
        let version = |version: &str| StoredSecret {
            value: Secret::new("pat".to_owned()),
            version: version.to_owned(),
            created: None,
            expires: None,
        };
        assert!(is_of_a_gate(&version(&request_token("pat"))));
        assert!(!is_of_a_gate(&version(&request_token("another"))) && !is_of_a_gate(&version("by-aws")));
    }

    #[test]
    fn the_same_value_is_the_same_version() {
        let (one, two) = (request_token("a"), request_token("b"));
        assert_eq!((one.len(), one.split('-').count()), (36, 5));
        assert!(one == request_token("a") && one != two);
    }
}
