//! The gate where the system gives it few descriptors.

#![cfg(unix)]

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use http::Method;

use crate::gate::Gate;

/// The gate under limits on descriptors; the shell sets them, since a program can only lower its hard limit.
fn limited(soft: u32, hard: u32) -> impl FnOnce(&mut Command) {
    move |command| {
        let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args()).env_remove("STATE_DIRECTORY");
        shell.stderr(std::process::Stdio::piped());
        *command = shell;
    }
}

#[tokio::test]
async fn few_descriptors_are_said_and_leave_the_operator_stores_and_snowflake_what_they_need() {
    let more = "[admin]\naddress='127.0.0.1:0'";
    let change = limited(40, 64);
    let (gate, log) = Gate::start_with("admission='500ms'", more, change).await;
    let warning = log.iter().find(|line| line.contains("too small for listen.connections")).expect("a warning");
    assert!(warning.contains("\"descriptors\":64") && warning.contains("\"connections\":16"), "{warning}");
    // More connections than descriptors, and nobody leaves.
    let mut kept = Vec::new();
    for number in 0..80_u8 {
        kept.push(gate.connect(IpAddr::from([127, 0, 0, 2 + number % 40])).await);
    }
    for _ in 0..10 {
        assert_eq!(gate.admin(Method::GET, "/livez").await.0, 200);
        assert_eq!(gate.admin(Method::POST, "/pats/refresh").await.0, 200, "the store can be read");
    }
    let answer = tokio::time::timeout(Duration::from_secs(60), gate.login()).await.expect("it gets its turn");
    assert_eq!(answer["success"], true, "{answer}");
    let metrics = gate.admin(Method::GET, "/metrics").await.1;
    assert!(!metrics.contains("snowflake_unreachable"), "{metrics}");
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_then_nothing_is_said() {
    let more = "[admin]\naddress='127.0.0.1:0'";
    let (gate, log) = Gate::start_with("connections=100", more, limited(40, 400)).await;
    assert!(!log.iter().any(|line| line.contains("too small for listen.connections")), "{log:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.child.id())).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    assert!(line.is_none_or(|line| line.split_whitespace().nth(3) == Some("400")), "{line:?}");
}
