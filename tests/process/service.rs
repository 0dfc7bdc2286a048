//! What systemd hears of a gate (`sd_notify(3)`).

#![cfg(target_os = "linux")]

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::gate::Gate;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_ready_reload_and_that_the_gate_is_at_work() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let notify = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000").env_remove("WATCHDOG_PID");
    };
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", notify).await;
    let next = |wanted: &str| {
        let mut others = Vec::new();
        loop {
            let mut text = [0; 512];
            let length = notified.recv(&mut text).unwrap_or_else(|error| panic!("{error}: {wanted} after {others:?}"));
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return text;
            }
            others.push(text);
        }
    };
    next("READY=1");
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    assert!(Command::new("kill").args(["-HUP", &gate.child.id().to_string()]).status().unwrap().success());
    // `Type=notify-reload` wants the time as well (systemd.service(5)).
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    next("WATCHDOG=1");
    assert!(Command::new("kill").arg(gate.child.id().to_string()).status().unwrap().success());
    next("STOPPING=1");
}
