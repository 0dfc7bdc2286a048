//! Writes to GCP Secret Manager: a new version.
//!
//! Facts: `POST …/secrets/NAME:addVersion` with the payload in base64 and its CRC32C; the answer has the resource name
//! of the new version; there is no condition; the right is `secretmanager.versions.add` (Secret Manager REST reference,
//! "projects.secrets.addVersion").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::login::with_login;
use super::super::write::{Write, WriteError};
use super::{Denied, Gcp, StoreError, denied, place};

const RIGHT: &str = "secretmanager.versions.add, as the role Secret Manager Secret Version Adder has it";

#[derive(Deserialize)]
struct Added {
    name: String,
}

impl Gcp {
    pub(super) async fn write_secret(&self, write: Write<'_>) -> Result<String, WriteError> {
        let (project, name, version) = place(write.path, &self.settings.project)?;
        if version != "latest" {
            let text = "the reference names a version, which never changes: remove it to have the gate write";
            return Err(StoreError::Refused(text.into()).into());
        }
        let now = self.read_secret(write.path).await?.version;
        if now != write.before {
            return Err(WriteError::changed(write.before, &now));
        }
        let method = format!("{name}:addVersion");
        let path = ["v1", "projects", project, "secrets", method.as_str()];
        let body = payload(write.value.expose());
        let over = |denied: &Denied| denied.status == Some(StatusCode::UNAUTHORIZED);
        let sent = with_login!(self, credentials => self.post(&credentials, &path, &body), unless over);
        let answer = sent.map_err(|failed| {
            let forbidden = failed.status == Some(StatusCode::FORBIDDEN);
            let told = WriteError::sent(failed.error);
            if forbidden { told.without_right(RIGHT) } else { told }
        })?;
        added(&answer)
    }

    async fn post(&self, credentials: &super::Credentials, path: &[&str], body: &Bytes) -> Result<Bytes, Denied> {
        let answer = self.ask(credentials, http::Method::POST, path, body.clone()).await?;
        if answer.status().is_success() { Ok(answer.into_body()) } else { Err(denied(&answer)) }
    }
}

fn payload(value: &str) -> Bytes {
    let checksum = crc32c::crc32c(value.as_bytes()).to_string();
    json!({ "payload": { "data": STANDARD.encode(value), "dataCrc32c": checksum } }).to_string().into()
}

/// The number of the new version.
fn added(answer: &[u8]) -> Result<String, WriteError> {
    let added = serde_json::from_slice::<Added>(answer).ok();
    let number = added.as_ref().and_then(|added| added.name.rsplit_once("/versions/"));
    number.map(|(_, number)| number.to_owned()).ok_or_else(|| {
        let text = "Secret Manager's answer to the write holds no version".to_owned();
        WriteError::Unknown(StoreError::Unavailable(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_with_its_checksum_and_comes_back_as_a_version() {
        let body: serde_json::Value = serde_json::from_slice(&payload("123456789")).unwrap();
        // The check value of CRC-32C.
        assert_eq!(body["payload"], json!({ "data": "MTIzNDU2Nzg5", "dataCrc32c": 0xe306_9283_u32.to_string() }));
        assert_eq!(added(br#"{"name":"projects/1/secrets/bi/versions/8"}"#).unwrap(), "8");
        assert!(matches!(added(b"{}"), Err(WriteError::Unknown(_))));
    }
}
