//! The log while nobody reads it.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::Gate;

/// Junk from 60 addresses, ten times each: some 150 KB of lines, of which a pipe holds 64 KB.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_logins_nor_the_operator_nor_the_end() {
    let (mut gate, mut log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    for last in 2..=61 {
        for _ in 0..12 {
            let mut stream = gate.connect(IpAddr::from([127, 0, 0, last])).await;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            // Until the gate has closed it. It may reset the connection.
            let _answer = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    let soon = Duration::from_secs(20);
    let answer = tokio::time::timeout(soon, gate.login()).await.expect("a login waits for the log");
    assert_eq!(answer["success"], true, "{answer}");
    let live = tokio::time::timeout(soon, gate.admin(Method::GET, "/livez")).await.expect("the operator waits");
    assert_eq!(live.0, 200);
    // A client sees the end of its connection a moment before the gate has counted it.
    let all = async {
        let wanted = "patgate_connections_refused_total{reason=\"tls_absent\"} 720\n";
        while !gate.admin(Method::GET, "/metrics").await.1.contains(wanted) {}
    };
    tokio::time::timeout(soon, all).await.expect("each is counted");
    // The end waits one second for the reader, and no longer.
    #[cfg(unix)]
    {
        let text = rest_of_the_log(&mut gate, &mut log);
        // Each of its pages may have too little room left for one more line.
        assert!(text.len() > 48_000, "the pipe was full: {} bytes", text.len());
    }
    let _ = &mut log;
}

#[tokio::test]
async fn of_the_same_refusal_from_one_source_ten_are_written_and_the_end_is_written_whole() {
    let (mut gate, mut log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    for _ in 0..50 {
        let mut stream = gate.connect(IpAddr::from([127, 0, 0, 9])).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _answer = stream.read_to_end(&mut Vec::new()).await;
    }
    gate.login().await;
    #[cfg(unix)]
    {
        let text = rest_of_the_log(&mut gate, &mut log);
        assert_eq!(text.matches("\"code\":\"PG-119\"").count(), 10, "{text}");
        assert_eq!(text.matches("\"message\":\"login\"").count(), 1, "{text}");
        assert!(text.lines().last().unwrap().contains("\"message\":\"stopped\""), "{text}");
    }
    let _ = (&mut gate, &mut log);
}

/// Ends a gate with SIGTERM, and reads what is left of its log.
#[cfg(unix)]
fn rest_of_the_log(gate: &mut Gate, log: &mut impl Read) -> String {
    let id = gate.child.id().to_string();
    assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
    assert!(gate.child.wait().unwrap().success());
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    text
}
