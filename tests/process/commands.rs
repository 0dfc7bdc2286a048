//! The operator's commands: how they find the gate, what they say, and how they end.

use std::process::{Command, Output};

use patgate::internal::standin::PatState;

use crate::gate::Gate;
use crate::{patgate, text};

async fn gate() -> Gate {
    Gate::start("[admin]\naddress='127.0.0.1:0'\n[reload]\nwatch='0s'\n[login]\nhold='200ms'", |_| {}).await.0
}

/// A command that is told the admin address, and no file.
fn at(gate: &Gate, arguments: &[&str]) -> Output {
    let admin = gate.admin.to_string();
    patgate(&[arguments, &["--admin", &admin]].concat())
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test]
async fn a_gate_whose_file_is_broken_still_takes_commands() {
    let gate = gate().await;
    std::fs::write(gate.config(), "[listen\n").unwrap();
    let output = gate.command(&["sessions", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("no closing bracket") && said(&output).contains("--admin ADDRESS"), "{output:?}");
    assert_eq!(at(&gate, &["sessions", "list"]).status.code(), Some(0));
    let mut by_variable = Command::new(env!("CARGO_BIN_EXE_patgate"));
    by_variable.args(["pat", "status"]).env_remove("PATGATE_CONFIG").env("PATGATE_ADMIN", gate.admin.to_string());
    assert_eq!(by_variable.output().unwrap().status.code(), Some(0));
    // The file is read where the command is about the file.
    let output = at(&gate, &["reload"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("the old configuration stays in use"), "{output:?}");
}

#[tokio::test]
async fn an_address_where_no_gate_is_says_where_the_right_one_stands() {
    let output = patgate(&["pat", "status", "--admin", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("127.0.0.1:1") && said(&output).contains("Its log has it"), "{output:?}");
    let output = patgate(&["pat", "status", "--admin", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("such as 127.0.0.1:8444"), "{output:?}");
}

#[test]
fn without_a_file_a_command_says_how_to_name_one_and_help_has_the_exit_codes() {
    if !std::path::Path::new("/etc/patgate/patgate.toml").exists() {
        let output = patgate(&["check"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("there is no /etc/patgate/patgate.toml. Name the file with --config FILE"));
    }
    let help = text(&patgate(&["--help"]).stdout);
    for code in ["4  gate:", "5  store:", "6  snowflake:", "8  the answer says"] {
        assert!(help.contains(code), "{help}");
    }
}

#[tokio::test]
async fn sessions_are_a_table_and_a_target_that_the_gate_does_not_know_is_told() {
    let gate = gate().await;
    assert!(said(&at(&gate, &["sessions", "list"])).starts_with("no sessions"));
    gate.login().await;
    let list = said(&at(&gate, &["sessions", "list"]));
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SESSION", "CLIENT", "PAT", "ACCOUNT", "FROM", "OPENED", "IDLE"]);
    assert!(lines.len() == 2 && lines[1][1] == "client:x" && lines[1][4] == "127.0.0.1", "{list}");
    let output = at(&gate, &["sessions", "kill", "client:typo"]);
    assert_eq!(output.status.code(), Some(8));
    assert!(said(&output).contains("this gate does not know it"), "{output:?}");
    assert_eq!(at(&gate, &["sessions", "kill", lines[1][0]]).status.code(), Some(0));
}

#[tokio::test]
async fn the_state_of_pats_ends_with_0_only_where_all_is_well() {
    let gate = gate().await;
    gate.login().await;
    let output = at(&gate, &["pat", "status"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Two bad logins tell the gate that it is the PAT.
    gate.standin.state.set_pat("U", "the-pat", PatState::Disabled);
    gate.login().await;
    let output = at(&gate, &["pat", "status"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(text(&output.stderr).contains("c: Snowflake refuses its PAT"), "{output:?}");
    let output = at(&gate, &["pat", "refresh", "c"]);
    assert!(said(&output).contains("the store still has the PAT that Snowflake refuses"), "{output:?}");
    gate.standin.state.set_pat("U", "another-pat", PatState::Active);
    std::fs::write(gate.config().with_file_name("pat"), "another-pat").unwrap();
    let output = at(&gate, &["pat", "refresh"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("c: read; the "), "{output:?}");
    let output = at(&gate, &["pat", "retry", "c"]);
    assert!(said(&output).contains("tries this PAT at the next login"), "{output:?}");
    assert_eq!(gate.login().await["success"], true);
    assert_eq!(at(&gate, &["pat", "status"]).status.code(), Some(0));
}

#[tokio::test]
async fn a_network_policy_that_refuses_the_gate_needs_attention() {
    let gate = gate().await;
    gate.login().await;
    gate.standin.state.refuse_by_policy(true);
    gate.login().await;
    let output = at(&gate, &["pat", "status"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    for wanted in ["c: its logins fail with PG-", "pat_policy: Snowflake says 390422", "no login goes before"] {
        assert!(text(&output.stderr).contains(wanted), "{wanted}: {output:?}");
    }
    let output = at(&gate, &["health", "--ready"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&at(&gate, &["status", "--json"]).stdout).unwrap();
    assert_eq!(json["credentials"][0]["state"], "refused", "{json}");
    let trace = json["failures"][0]["trace"].as_str().unwrap();
    let told = said(&at(&gate, &["status"]));
    assert!(told.contains(trace) && trace.len() == 32, "{told}");
    gate.standin.state.refuse_by_policy(false);
    // The gate lets itself be tried again when the pause is over: a balancer that sends nobody would never end it.
    let ready = async || at(&gate, &["health", "--ready"]).status.code() == Some(0);
    while !ready().await {
        tokio::task::yield_now().await;
    }
    let output = at(&gate, &["pat", "status"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(text(&output.stderr).contains("c: its last login failed with PG-"), "{output:?}");
    assert_eq!(gate.login().await["success"], true);
    assert_eq!(at(&gate, &["pat", "status"]).status.code(), Some(0));
}

#[tokio::test]
async fn health_is_for_probes_without_another_program() {
    let gate = gate().await;
    for (arguments, wanted) in [(&["health"][..], "live"), (&["health", "--ready"], "ready")] {
        let output = at(&gate, arguments);
        assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), wanted), "{output:?}");
    }
    gate.standin.state.set_pat("U", "the-pat", PatState::Disabled);
    gate.login().await;
    let output = at(&gate, &["health", "--ready"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(text(&output.stderr).starts_with("not ready: Snowflake refuses every credential"), "{output:?}");
    assert_eq!(at(&gate, &["health"]).status.code(), Some(0));
    assert_eq!(patgate(&["health", "--admin", "127.0.0.1:1"]).status.code(), Some(4));
}

#[tokio::test]
async fn one_screen_shows_the_gate_and_what_needs_attention() {
    let gate = gate().await;
    gate.login().await;
    let output = at(&gate, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let screen = text(&output.stdout);
    let row = |start: &str| -> Vec<&str> {
        let line = screen.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {screen}"));
        line.split_whitespace().collect()
    };
    assert!(screen.starts_with(&format!("patgate {}, ready, up ", env!("CARGO_PKG_VERSION"))), "{screen}");
    assert_eq!(row("main ")[1..3], [&*gate.address.to_string(), "localhost,127.0.0.1"]);
    assert_eq!(row("c ")[1..4], ["a", "U", "active"]);
    assert_eq!(row("a ")[1..], ["localhost", "reachable"]);
    assert_eq!(row("f ")[1..], ["file", "answers"]);
    assert!(screen.contains("1 clients, 1 sessions within the last hour"), "{screen}");

    gate.standin.state.set_pat("U", "the-pat", PatState::Disabled);
    gate.login().await;
    std::fs::write(gate.config(), "[listen\n").unwrap();
    assert_eq!(at(&gate, &["reload"]).status.code(), Some(4));
    let output = at(&gate, &["status"]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    for wanted in [
        "credential c: Snowflake refuses its PAT",
        "the last reload failed, and the old configuration is in use",
        "not ready: Snowflake refuses every credential",
    ] {
        assert!(text(&output.stderr).contains(wanted), "{}", said(&output));
    }
    assert!(text(&output.stdout).contains("PG-"), "{}", said(&output));
    let json: serde_json::Value = serde_json::from_slice(&at(&gate, &["status", "--json"]).stdout).unwrap();
    assert_eq!((&json["ready"], &json["credentials"][0]["state"]), (&false.into(), &"refused".into()), "{json}");
    assert!(json["failures"][0]["count"].as_u64().unwrap() > 0, "{json}");
}

#[test]
fn completions_and_pages_have_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = patgate(&["completions", shell]);
        let text = text(&output.stdout);
        assert!(output.status.success() && text.contains("adopt") && text.contains("key-file"), "{shell}: {text}");
    }
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("man");
    assert!(patgate(&["man", "--dir", directory.to_str().unwrap()]).status.success());
    let page =
        |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(page("patgate.1").contains(".TH patgate 1") && page("patgate.1").contains("Exit codes"));
    assert!(page("patgate-pat-rotate.1").contains("dry"));
    assert!(text(&patgate(&["man"]).stdout).contains(".TH patgate 1"));
}
