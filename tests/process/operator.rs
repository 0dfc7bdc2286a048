//! The operator's commands, as root, as the gate's own user, and as another user of the machine.

#![cfg(target_os = "linux")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use http::Method;

use crate::gate::Gate;

const NOBODY: u32 = 65534;

/// A request to the admin address by that user; bash can connect without any other program.
fn request_as(user: u32, gate: &Gate, method: &str, path: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n");
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; printf '{head}' >&3; cat <&3", gate.admin.port());
    let output = Command::new("bash").uid(user).current_dir("/").args(["-c", &script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn another_user_of_the_machine_reads_the_health_and_gives_no_command() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can make requests as another user.
        return;
    }
    let (mut gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'\n[reload]\nwatch='0s'", |_| {}).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(request_as(NOBODY, &gate, "GET", path).starts_with("HTTP/1.1 200"), "{path}");
    }
    for (method, path) in [
        ("GET", "/pats"),
        ("GET", "/sessions"),
        ("POST", "/pats/refresh"),
        ("POST", "/pats/retry?credential=c"),
        ("POST", "/pats/login?credential=c"),
        ("POST", "/reload"),
        ("POST", "/sessions/rotate"),
        ("POST", "/sessions/kill?target=client:x"),
        ("POST", "/nothing"),
    ] {
        let answer = request_as(NOBODY, &gate, method, path);
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        assert!(answer.contains("is not an operator of this gate"), "{path}: {answer}");
    }
    assert_eq!(gate.admin(Method::GET, "/sessions").await.0, 200, "the gate's own user");
    // From now on the file names that user.
    let text = std::fs::read_to_string(gate.config()).unwrap();
    std::fs::write(gate.config(), text.replace("[admin]", &format!("[admin]\nusers=['{NOBODY}']"))).unwrap();
    assert_eq!(gate.admin(Method::POST, "/reload").await.0, 200);
    assert!(request_as(NOBODY, &gate, "GET", "/sessions").starts_with("HTTP/1.1 200"));
    assert!(gate.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn commands_find_the_operator_s_socket_by_the_configuration() {
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'\nsocket='admin.sock'", |_| {}).await;
    let output = gate.command(&["pat", "status", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"credential\":\"c\""));
    std::fs::remove_file(gate.config().with_file_name("admin.sock")).unwrap();
    let output = gate.command(&["pat", "status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer from the gate at its socket"));
}

#[tokio::test]
async fn the_level_of_the_log_changes_while_the_gate_runs() {
    let (gate, mut log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    let ask = |level: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patgate"));
        command.arg("log").args(level).arg("--admin").arg(gate.admin.to_string()).output().unwrap()
    };
    assert_eq!(String::from_utf8_lossy(&ask(&[]).stdout), "info\n");
    let wrong = ask(&["info,nothing=debug"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("is no module"));
    assert!(ask(&["info,proxy=debug,telemetry=debug"]).status.success());
    assert_eq!(String::from_utf8_lossy(&ask(&[]).stdout), "info,proxy=debug,telemetry=debug\n");
    let mut line = String::new();
    while !line.contains("the operator changed what is logged") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut log, &mut line).unwrap(), 0);
    }
    assert!(line.contains("info,proxy=debug,telemetry=debug"), "{line}");
}

/// A browser over a forwarded port comes as whoever forwards it.
#[tokio::test]
async fn the_console_opens_to_another_user_by_a_token_that_is_good_once() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can make requests as another user.
        return;
    }
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'", |_| {}).await;
    let ask = |method: &str, path: &str, lines: &str| {
        let host = format!("Host: 127.0.0.1:{}\\r\\n{lines}", gate.admin.port());
        let head = format!("{method} {path} HTTP/1.1\\r\\n{host}\\r\\n");
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; printf '{head}' >&3; cat <&3", gate.admin.port());
        let output = Command::new("bash").uid(NOBODY).current_dir("/").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = ask("GET", "/console", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("default-src 'none'"), "{page}");
    assert!(ask("GET", "/status", "").starts_with("HTTP/1.1 403"), "the page holds no data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patgate"));
    let output = command.args(["console", "--admin"]).arg(gate.admin.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let token = said.lines().next().unwrap().split_once("/console#").unwrap().1.to_owned();
    let own = format!("Origin: http://127.0.0.1:{}\\r\\n", gate.admin.port());
    let log_in = |lines: &str| ask("POST", "/console/login", &format!("{lines}X-Patgate-Token: {token}\\r\\n"));
    assert!(log_in("Origin: http://evil.test\\r\\n").starts_with("HTTP/1.1 403"));
    let opened = log_in(&own);
    let cookie =
        opened.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{opened}"));
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Max-Age=28800"), "{cookie}");
    assert!(log_in(&own).starts_with("HTTP/1.1 401"), "once");
    let with = format!("{own}Cookie: {}\\r\\n", cookie.split(';').next().unwrap());
    assert!(ask("GET", "/status", &with).starts_with("HTTP/1.1 200"));
    assert!(ask("POST", "/pats/refresh", &with).starts_with("HTTP/1.1 200"));
    let stolen = with.replace("127.0.0.1", "evil.test");
    assert!(ask("POST", "/pats/refresh", &stolen).starts_with("HTTP/1.1 403"), "another site's page");
}
