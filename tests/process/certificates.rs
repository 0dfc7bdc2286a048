//! What the log says of the gate's certificate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use patgate::internal::base::clock::{Clock, SystemClock};
use patgate::internal::standin::Certificates;
use serde_json::Value;

use crate::gate::Gate;
use crate::{patgate, text};

const DAY: Duration = Duration::from_secs(86_400);

/// Gives the gate, before it starts, a certificate that ends so many days from now.
fn ending(command: &mut Command, days: f64) {
    let home = Path::new(command.get_args().last().unwrap()).parent().unwrap();
    let (now, made) = (SystemClock.wall(), tempfile::tempdir().unwrap());
    let times = now - 80 * DAY..now - 10 * DAY + DAY.mul_f64(10.0 + days);
    Certificates::make_valid(made.path(), &["localhost"], Some(times)).unwrap();
    for file in ["server.pem", "server.key"] {
        std::fs::copy(made.path().join(file), home.join(file)).unwrap();
    }
}

/// The line of the log about a certificate, before the one that says where the gate listens.
async fn said(days: f64) -> Value {
    let (_gate, lines) = Gate::start_with("", "[admin]\naddress='127.0.0.1:0'", |command| ending(command, days)).await;
    let mut lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(|line| line["message"].as_str().unwrap().contains("certificate")).unwrap()
}

#[tokio::test]
async fn a_start_with_an_ended_certificate_serves_and_says_whose_fault_it_is() {
    let line = said(-1.5).await;
    assert_eq!((&line["level"], &line["owner"]), (&"ERROR".into(), &"gate".into()), "{line}");
    assert!(line["file"].as_str().unwrap().ends_with("server.pem"), "{line}");
    assert!(line["next_step"].as_str().unwrap().contains("put a certificate that is valid now"), "{line}");
}

#[test]
fn a_start_with_a_certificate_of_another_key_ends_with_a_sentence() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Certificates::make(home.path(), &["localhost"]).unwrap();
    Certificates::make(other.path(), &["localhost"]).unwrap();
    std::fs::copy(other.path().join("server.key"), home.path().join("server.key")).unwrap();
    let config = format!(
        "[listen]\naddress='127.0.0.1:0'\ncertificate='server.pem'\nkey='server.key'\n[admin]\naddress='127.0.0.1:0'\n\
         [accounts.a]\nhost='localhost'\nca='ca.pem'\n[stores.e.env]\n[credentials.c]\naccount='a'\nuser='U'\n\
         pat='e:X'\n[clients.x]\ncredential='c'\nkeys=['sha256:{}']\n",
        "0".repeat(64)
    );
    let file = home.path().join("patgate.toml");
    std::fs::write(&file, config).unwrap();
    let output = patgate(&["run", "--config", file.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("is not the key of the certificate in") && !said.contains("KeyMismatch"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_a_warning_with_the_days_left() {
    let line = said(2.5).await;
    assert_eq!((&line["level"], &line["days_left"]), (&"WARN".into(), &2.into()), "{line}");
}
