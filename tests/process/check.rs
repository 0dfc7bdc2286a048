//! `patgate check`: what the configuration names on this machine, and with `--online` the way to the accounts.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use patgate::internal::base::clock::{Clock, SystemClock, SystemRandom};
use patgate::internal::standin::{self, Certificates, PatState};
use patgate::internal::tls;
use serde_json::Value;

#[cfg(unix)]
use crate::gate::Gate;
use crate::{patgate, text};

const DAY: Duration = Duration::from_secs(86_400);

/// A configuration with files, in which everything is right.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new(account: &str, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let now = SystemClock.wall();
        let times = Some(now - DAY..now + 400 * DAY);
        Certificates::make_valid(home.path(), &["localhost", "gate.test"], times).unwrap();
        let config = format!(
            "[listen]\naddress='127.0.0.1:0'\ncertificate='server.pem'\nkey='server.key'\n\
             [accounts.a]\n{account}\nca='ca.pem'\n[stores.f.file]\npath='.'\n\
             [credentials.c]\naccount='a'\nuser='U'\npat='f:pat'\n\
             [clients.x]\ncredential='c'\nkeys=['sha256:{}']\n{more}\n",
            "0".repeat(64)
        );
        std::fs::write(home.path().join("patgate.toml"), config).unwrap();
        std::fs::create_dir(home.path().join("state")).unwrap();
        let home = Self(home);
        home.private("pat", "the-pat");
        home
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that its owner alone may read.
    pub fn private(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
        #[cfg(unix)]
        mode(&self.path(name), 0o600);
    }

    /// Exit code, and all that was said.
    fn check(&self, arguments: &[&str]) -> (i32, String) {
        self.run("check", arguments)
    }

    /// The same for another command.
    pub fn run(&self, command: &str, arguments: &[&str]) -> (i32, String) {
        let output =
            patgate(&[&[command, "--config", self.path("patgate.toml").to_str().unwrap()], arguments].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap(), said.replace(&format!("{}/", self.0.path().display()), ""))
    }
}

#[cfg(unix)]
fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

const HOST: &str = "host='localhost'";

#[test]
fn what_is_right_is_told_with_the_end_of_the_certificate() {
    let home = Home::new(HOST, "[state]\nwarm_key='file:warm'");
    home.private("warm", &"k".repeat(32));
    let (code, said) = home.check(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("listen.certificate: ok, server.pem for localhost, gate.test, issued by"), "{said}");
    assert!(said.contains("(399 days)") && said.contains("state.directory: ok"), "{said}");
    assert!(said.trim_end().ends_with("patgate.toml: ok") && !said.contains("warning"), "{said}");
    assert_eq!(std::fs::read_dir(home.path("state")).unwrap().count(), 0, "a check makes no file");
    let json: Value = serde_json::from_str(&home.check(&["--json"]).1).unwrap();
    assert_eq!((&json["ok"], &json["findings"][0]["severity"]), (&true.into(), &"ok".into()), "{json}");
}

#[test]
fn each_file_that_the_gate_cannot_use_is_told_with_whose_it_is_and_what_to_do() {
    let more = "[state]\nwarm_key='file:warm'\n[seal]\nkeys='f:ring'\n[stores.v.vault]\naddress='https://v.test'\n\
                ca='server.key'\napprole={role_id='file:none',secret_id='file:pat'}";
    let home = Home::new(HOST, more);
    home.private("warm", "short");
    home.private("ring", "short");
    home.private("pat", "todo");
    home.private("ca.pem", "no roots");
    let other = tempfile::tempdir().unwrap();
    let now = SystemClock.wall();
    Certificates::make_valid(other.path(), &["localhost"], Some(now - DAY..now + DAY)).unwrap();
    std::fs::copy(other.path().join("server.key"), home.path("server.key")).unwrap();
    let (code, said) = home.check(&[]);
    assert_eq!(code, 4, "{said}");
    for line in [
        "listen.certificate: error: the private key in server.key is not the key of the certificate in server.pem",
        "accounts.a: error: ca.pem holds no certificate in PEM form (owner: gate)",
        "stores.v: error: [stores.v]: server.key holds no certificate in PEM form (owner: gate)",
        "stores.v.vault.approle.role_id: error:",
        "state.warm_key: error: the secret in warm is shorter than 32 characters. Make one with `openssl",
        "credentials.c.pat: error:",
        "seal.keys: error: f:ring: key number 1 is shorter than 32 characters",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(said.contains("until then its logins fail (owner: store)"), "{said}");
    assert!(!said.contains("patgate.toml: ok"), "{said}");
    // On a machine that is not the gate's.
    assert_eq!(home.check(&["--file-only"]).0, 0);
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_an_error() {
    let home = Home::new(HOST, "");
    let (now, names) = (SystemClock.wall(), ["localhost"]);
    Certificates::make_valid(home.0.path(), &names, Some(now - 80 * DAY..now + 9 * DAY + DAY / 2)).unwrap();
    let (code, said) = home.check(&[]);
    assert!(code == 0 && said.contains("listen.certificate: warning: server.pem ends at"), "{said}");
    assert!(said.contains("in 9 days. Renew it"), "{said}");
    Certificates::make_valid(home.0.path(), &names, Some(now - 80 * DAY..now - DAY)).unwrap();
    let (code, said) = home.check(&[]);
    assert!(code == 4 && said.contains("the certificate in server.pem ended at"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_all_may_read_is_a_warning_with_the_remedy() {
    let more = "[state]\nwarm_key='file:warm'\n[stores.v.vault]\naddress='https://v.test'\nca='ca.pem'\n\
                approle={role_id='file:role',secret_id='file:id'}";
    let home = Home::new(HOST, more);
    for name in ["warm", "role", "id"] {
        home.private(name, &"k".repeat(32));
    }
    assert!(!home.check(&[]).1.contains("every user"));
    for (name, key) in [
        ("server.key", "listen.key"),
        ("pat", "credentials.c.pat"),
        ("id", "stores.v.vault.approle.secret_id"),
        ("warm", "state.warm_key"),
    ] {
        mode(&home.path(name), 0o644);
        let (code, said) = home.check(&[]);
        let wanted = format!("{key}: warning: every user of this machine may read {name} (mode 0644). chmod 0600");
        assert!(code == 0 && said.contains(&wanted), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_state_directory_that_the_user_cannot_write_to_is_told() {
    use std::os::unix::process::CommandExt;
    if !nix::unistd::geteuid().is_root() {
        // Only root can run the check as another user, and root may write everywhere.
        return;
    }
    let home = Home::new(HOST, "[state]\ndirectory='state'");
    mode(home.0.path(), 0o755);
    let program = tempfile::tempdir().unwrap();
    mode(program.path(), 0o755);
    // Another process writes the copy: a child that another test forks meanwhile would hold the open file, and what is
    // open for writing cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_patgate")).arg(program.path().join("patgate")).status();
    assert!(copied.unwrap().success());
    mode(&program.path().join("patgate"), 0o755);
    let mut command = Command::new(program.path().join("patgate"));
    command.uid(65534).current_dir("/").args(["check", "--config"]).arg(home.path("patgate.toml"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    assert!(said.contains("state.directory: error: this user cannot write to"), "{said}");
    assert!(said.contains("run the check as that one (owner: gate)"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn online_the_way_to_each_account_is_tried() {
    let snowflake = tempfile::tempdir().unwrap();
    let made = Certificates::make(snowflake.path(), &["localhost"]).unwrap();
    let server = tls::server(&made.pair(), None).unwrap();
    let standin = standin::start(([127, 0, 0, 1], 0).into(), server, Arc::new(SystemRandom)).await.unwrap();
    let home = Home::new(&format!("host='localhost'\naddress='{}'", standin.address), "");
    // The home's own CA has not signed the stand-in's certificate.
    let (code, said) = home.check(&["--online"]);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("is not accepted: no trusted root has signed it (PG-614)"), "{said}");
    std::fs::copy(&made.ca, home.path("ca.pem")).unwrap();
    let (code, said) = home.check(&["--online"]);
    assert!(code == 0 && said.contains("is reached, and its certificate verified"), "{said}");
    assert!(said.contains("c: f:pat (file): ok"), "{said}");
    let config = std::fs::read_to_string(home.path("patgate.toml")).unwrap();
    for (address, wanted) in [("127.0.0.1:1", "(PG-613)"), ("no-such-host.invalid:443", "(PG-612)")] {
        let config = config.replace(&standin.address.to_string(), address);
        std::fs::write(home.path("patgate.toml"), config).unwrap();
        let (code, said) = home.check(&["--online"]);
        assert!(code == 6 && said.contains(wanted) && said.contains("(owner: snowflake)"), "{said}");
    }
}

/// A login of a check counts at the guard, whether a gate runs or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_sent_once_and_a_refused_version_never_again() {
    let snowflake = tempfile::tempdir().unwrap();
    let made = Certificates::make(snowflake.path(), &["localhost"]).unwrap();
    let server = tls::server(&made.pair(), None).unwrap();
    let standin = standin::start(([127, 0, 0, 1], 0).into(), server, Arc::new(SystemRandom)).await.unwrap();
    let account = format!("host='localhost'\naddress='{}'", standin.address);
    let home = Home::new(&account, "[admin]\naddress='127.0.0.1:1'");
    std::fs::copy(&made.ca, home.path("ca.pem")).unwrap();
    standin.state.set_pat("U", "the-pat", PatState::Active);
    assert_eq!(home.check(&["--login"]).0, 2, "it needs --online");
    let (code, said) = home.check(&["--online", "--login"]);
    assert!(code == 0 && said.contains("credentials.c: ok, Snowflake accepts PAT"), "{said}");
    assert_eq!(standin.state.open_sessions(), 0, "logged out");
    standin.state.set_pat("U", "the-pat", PatState::Disabled);
    for round in 0..3 {
        let (code, said) = home.check(&["--online", "--login"]);
        assert!(code == 6 && said.contains("(PG-605)"), "{said}");
        assert_eq!(said.contains("not sent: "), round > 0, "{said}");
        assert_eq!(standin.state.bad_logins_in_all(), 1);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_running_gate_sends_the_login_and_knows_of_it() {
    let (gate, _log) = Gate::start("[admin]\naddress='127.0.0.1:0'\nsocket='admin.sock'", |_| {}).await;
    let check = || gate.command(&["check", "--online", "--login"]).output().unwrap();
    assert!(check().status.success());
    gate.standin.state.set_pat("U", "the-pat", PatState::Expired);
    assert_eq!(check().status.code(), Some(6));
    let (status, pats) = gate.admin(http::Method::GET, "/pats").await;
    assert!(status == 200 && pats.contains("\"refused\":true"), "{pats}");
    assert_eq!((check().status.code(), gate.standin.state.bad_logins_in_all()), (Some(6), 1));
    let (status, text) = gate.admin(http::Method::POST, "/pats/login?credential=none").await;
    assert!(status == 404 && text.contains("no credential has the name none"), "{status} {text}");
}
