use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::super::{SecretStore, Write, WriteError};
use super::*;
use crate::base::clock::SystemClock;
use crate::base::secret::Secret;
use crate::config::SecretSource;
use crate::config::stores::{KvVersion, Reach, VaultLogin, VaultStore};

/// A server that gives these answers in turn, and what it was asked.
struct Fake {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn fake(answers: &[(u16, &'static str)]) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (told, mut answers) = (asked.clone(), answers.iter().copied().collect::<VecDeque<_>>());
    tokio::spawn(async move {
        while let Some((status, body)) = answers.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, sent)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if sent.len() >= length.unwrap_or(0) {
                    told.lock().push(format!("{} | {sent}", head.lines().next().unwrap()));
                    break;
                }
            }
            // 0 stands for a connection that breaks.
            if status != 0 {
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    Fake { address, asked }
}

fn vault(fake: &Fake, home: &tempfile::TempDir, kv: KvVersion) -> Vault {
    std::fs::write(home.path().join("token"), "root").unwrap();
    let settings = VaultStore {
        address: fake.address.clone(),
        reach: Reach::default(),
        namespace: None,
        kv: Some(kv),
        login: VaultLogin::Token(SecretSource::File(home.path().join("token"))),
    };
    Vault::new(&settings, std::time::Duration::from_secs(5), Arc::new(SystemClock)).unwrap()
}

async fn written(answers: &[(u16, &'static str)], kv: KvVersion, before: &str) -> (Result<String, WriteError>, Fake) {
    let (fake, home) = (fake(answers).await, tempfile::tempdir().unwrap());
    let vault = vault(&fake, &home, kv);
    let value = Secret::new(r#"{"token":"canary","n":12345678901234567890}"#.into());
    (vault.write(Write { path: "kv/bi/pat", value: &value, before }).await, fake)
}

#[tokio::test]
async fn kv_v2_is_written_only_over_the_version_that_was_read() {
    let (version, fake) = written(&[(200, r#"{"data":{"version":8}}"#)], KvVersion::V2, "v7").await;
    assert_eq!(version.unwrap(), "v8");
    let body = r#"{"options":{"cas":7},"data":{"token":"canary","n":12345678901234567890}}"#;
    assert_eq!(*fake.asked.lock(), [format!("POST /v1/kv/data/bi/pat HTTP/1.1 | {body}")]);
    let mismatch = r#"{"errors":["check-and-set parameter did not match the current version"]}"#;
    let (changed, _) = written(&[(400, mismatch)], KvVersion::V2, "v7").await;
    assert!(matches!(changed, Err(WriteError::Changed(_))));
}

#[tokio::test]
async fn a_refusal_says_which_right_is_missing_and_a_lost_answer_is_unknown() {
    let denied = r#"{"errors":["1 error occurred: permission denied"]}"#;
    let (refused, _) = written(&[(403, denied), (403, denied)], KvVersion::V2, "v7").await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("`create` and `update` on kv/data/bi/pat") && !told.contains("canary"), "{told}");
    for answer in [(0, ""), (503, "{}"), (200, "{}")] {
        let (lost, _) = written(&[answer], KvVersion::V2, "v7").await;
        assert!(matches!(lost, Err(WriteError::Unknown(_))), "{answer:?}: {lost:?}");
    }
}

#[tokio::test]
async fn kv_v1_names_the_new_version_as_a_read_does() {
    let stored = r#"{"data":{"n":1,"token":"canary"}}"#;
    let (version, fake) = written(&[(204, ""), (200, stored)], KvVersion::V1, "content:0123456789ab").await;
    let wanted = Secret::new(r#"{"n":1,"token":"canary"}"#.into()).fingerprint();
    assert_eq!(version.unwrap(), format!("content:{wanted}"));
    assert!(fake.asked.lock()[0].starts_with("POST /v1/kv/bi/pat HTTP/1.1 | {"));
}

#[tokio::test]
async fn a_mount_with_slashes_is_asked_for_once_and_written_to() {
    let found = (200, r#"{"data":{"data":{"token":"canary"},"metadata":{"version":3}}}"#);
    let mount = (200, r#"{"data":{"path":"team/bi/kv/","type":"kv"}}"#);
    let answers = [(404, r#"{"errors":[]}"#), mount, found, (200, r#"{"data":{"version":4}}"#), found];
    let (fake, home) = (fake(&answers).await, tempfile::tempdir().unwrap());
    let vault = vault(&fake, &home, KvVersion::V2);
    let path = "team/bi/kv/reports/pat";
    assert_eq!(vault.read(path).await.unwrap().version, "v3");
    let value = Secret::new(r#"{"token":"canary"}"#.into());
    assert_eq!(vault.write(Write { path, value: &value, before: "v3" }).await.unwrap(), "v4");
    vault.read(path).await.unwrap();
    let asked = fake.asked.lock().clone();
    let paths: Vec<_> = asked.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/v1/team/data/bi/kv/reports/pat",
            "/v1/sys/internal/ui/mounts/team/bi/kv/reports/pat",
            "/v1/team/bi/kv/data/reports/pat",
            "/v1/team/bi/kv/data/reports/pat",
            "/v1/team/bi/kv/data/reports/pat",
        ]
    );
}
