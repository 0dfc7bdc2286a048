//! `patgate explain` and `patgate audit verify`: what happened to a login, from the state directory alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::text;

/// The trace id at the end of a text.
fn trace_of(answer: &Value) -> String {
    let text = answer["message"].as_str().unwrap();
    text.rsplit_once("(trace ").unwrap().1.trim_end_matches(')').to_owned()
}

/// Runs a command until it finds what was written a moment ago.
fn until_found(gate: &Gate, arguments: &[&str]) -> Output {
    for _ in 0..400 {
        let output = gate.command(arguments).output().unwrap();
        if output.status.success() {
            return output;
        }
    }
    panic!("{arguments:?} finds nothing: {}", text(&gate.command(arguments).output().unwrap().stderr));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_refused_login_is_told_whole_also_with_a_broken_file_and_without_a_gate() {
    let (mut gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'\n[reload]\nwatch='0s'", |_| {}).await;
    assert_eq!(gate.login().await["success"], true);
    gate.standin.state.set_pat("U", "the-pat", patgate::internal::standin::PatState::Expired);
    let refused = gate.login().await;
    let trace = trace_of(&refused);
    let told = until_found(&gate, &["explain", &trace, "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let fault = &told["fault"];
    assert_eq!(
        json!([told["trace"], fault["kind"], fault["code"], fault["owner"], fault["snowflake_code"]]),
        json!([trace, "pat_expired", "PG-608", "snowflake", "394401"]),
        "{told}"
    );
    assert!(fault["next_step"].as_str().unwrap().contains("ROTATE"), "{told}");
    assert!(fault["client_step"].as_str().unwrap().contains("Give the trace id"), "{told}");
    assert_eq!(told["last_success"]["outcome"], "success", "{told}");
    // What a tool showed, broken as tools break lines, is as good as the id.
    let shown = refused["message"].as_str().unwrap().replacen(' ', "\n  ", 5);
    std::fs::write(gate.config(), "this is [ no TOML").unwrap();
    let _killed = gate.child.kill();
    let output = gate.command(&["explain", &shown]).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in [
        "login · failed",
        "client x",
        "PG-608 pat_expired · Snowflake's",
        "394401 \"Programmatic access token is expired.\"",
        "this client last logged in at",
        "operator  ALTER USER",
        "PG-608 × ",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // The variable of a gate that is down keeps nobody from its state, and leads to no other gate's.
    let asked = || gate.command(&["explain", &trace]).env("PATGATE_ADMIN", gate.admin.to_string()).output().unwrap();
    assert_eq!(asked().status.code(), Some(4), "{}", text(&asked().stderr));
    std::fs::write(gate.config(), format!("[admin]\naddress = '{}'\n", gate.admin)).unwrap();
    assert!(asked().status.success(), "{}", text(&asked().stderr));
    let bundle = gate.config().with_file_name("bundle.json");
    let bundled = gate.command(&["explain", &trace, "--bundle", bundle.to_str().unwrap()]).output().unwrap();
    assert!(bundled.status.success() && std::fs::metadata(&bundle).unwrap().len() < 1_000_000);
    for file in files(gate.config().parent().unwrap()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "pat" || name.ends_with(".key") {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        for secret in ["the-pat", gate.key()] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn an_unknown_id_and_an_unknown_text_say_where_to_look() {
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    let output = gate.command(&["explain", "4bf92f3577b34da6a3ce929d0e0e4736"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stderr).contains("has no record of it"), "{}", text(&output.stderr));
    let output = gate.command(&["explain", "what is this"]).output().unwrap();
    assert!(text(&output.stderr).contains("The trace id is the 32 hex digits"), "{}", text(&output.stderr));
    let page = gate.command(&["explain", "Incoming request with IP/Token 1.2.3.4 is not allowed"]).output().unwrap();
    assert!(text(&page.stdout).starts_with("PG-310 pat_policy"), "{}", text(&page.stdout));
}

#[tokio::test]
async fn the_audit_log_proves_itself_and_a_change_is_found() {
    let (mut gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    assert_eq!(gate.login().await["success"], true);
    assert_eq!(gate.admin(http::Method::POST, "/pats/refresh").await.0, 200);
    let directory = gate.config().with_file_name("state").join("audit");
    let read = || files(&directory).iter().find(|file| file.extension().is_some_and(|end| end == "jsonl")).cloned();
    let lines = loop {
        let whole = read().map(|file| std::fs::read_to_string(file).unwrap()).unwrap_or_default();
        if ["\"started\"", "\"session_opened\"", "\"pat_refresh\"", "\"checkpoint\""]
            .iter()
            .all(|one| whole.contains(one))
        {
            break whole;
        }
    };
    assert!(!lines.contains("the-pat") && !lines.contains(gate.key()), "{lines}");
    let opened: Value = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["event"] == "session_opened")
        .unwrap();
    assert_eq!(json!([opened["client"], opened["credential"], opened["peer"]]), json!(["x", "c", "127.0.0.1"]));
    assert_eq!(opened["key"].as_str().unwrap().len(), 16, "the tag of the key that was used");
    let _killed = gate.child.kill();
    let _reaped = gate.child.wait();
    let verify = || gate.command(&["audit", "verify"]).output().unwrap();
    let whole = verify();
    assert!(whole.status.success() && text(&whole.stdout).contains("Not proven"), "{}", text(&whole.stderr));
    let file = read().unwrap();
    let changed = std::fs::read_to_string(&file).unwrap().replacen("\"client\":\"x\"", "\"client\":\"y\"", 1);
    std::fs::File::create(&file).unwrap().write_all(changed.as_bytes()).unwrap();
    let broken = verify();
    assert_eq!(broken.status.code(), Some(4));
    assert!(text(&broken.stderr).contains("its text was changed"), "{}", text(&broken.stderr));
}
