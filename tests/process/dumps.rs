//! The memory of a gate is for nobody else.

#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::gate::Gate;

fn quit(id: u32) {
    assert!(Command::new("kill").args(["-QUIT", &id.to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn a_gate_leaves_no_core_wherever_it_was_started() {
    let unlimited = |command: &mut Command| {
        let mut shell = Command::new("bash");
        // Who runs the tests in the background may ignore SIGQUIT, and a shell cannot take that back.
        let start = "ulimit -Sc unlimited; exec env --default-signal=QUIT \"$0\" \"$@\"";
        shell.args(["-c", start]).arg(command.get_program());
        shell.args(command.get_args()).env_remove("STATE_DIRECTORY").stderr(std::process::Stdio::piped());
        *command = shell;
    };
    let (mut gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", unlimited).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // Files of a process that is not dumpable belong to root, also where another user runs it (proc(5)).
    gate.login().await;
    quit(gate.child.id());
    let ended = gate.child.wait().unwrap();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(3), false));
}
