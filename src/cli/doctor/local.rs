//! The steps on this machine: the file, what it names, certificates, descriptors, the state directory.

use std::collections::BTreeSet;

use super::drivers::{self, Refusal};
use super::step::{Link, Step};
use crate::app::room_for_connections;
use crate::base::clock::Env;
use crate::base::fault::{Kind, Owner, chain};
use crate::base::rfc3339;
use crate::cli::check::{Finding, Severity, inspect};
use crate::config::report::Report;
use crate::config::{Config, KeyPair};
use crate::tls::{self, Flaw, ServerCertificate};

/// A certificate that ends within so many days is worth a remark.
const DAYS: u64 = 30;
/// So few connections serve hardly anybody.
const FEW: usize = 256;

/// The file.
pub(super) fn file(report: &Report, valid: bool) -> Step {
    let lines = |warning: bool| {
        let problems = report.problems().filter(|(.., problem)| problem.warning == warning);
        problems.map(|(line, column, one)| format!("{line}:{column}: {}. {}", one.what, one.remedy)).collect()
    };
    match valid {
        true => Step::good(Link::File, "", format!("{} is valid", report.file())).with(lines(true)),
        false => Step::bad(Link::File, "", Owner::Gate, format!("{} has errors", report.file()))
            .with(lines(false))
            .next("Correct them; a running gate keeps its old configuration."),
    }
}

/// All other steps.
pub(super) async fn steps(config: &Config, env: &Env) -> Vec<Step> {
    let clock = &*env.clock;
    let begun = clock.now();
    let findings = inspect(config, &env.clock).await;
    let mut steps = vec![files(&findings).since(clock, begun)];
    let mut seen = BTreeSet::new();
    for listen in config.all_listeners() {
        if let Some(pair) = listen.tls.as_ref().filter(|pair| seen.insert(format!("{pair:?}"))) {
            let begun = clock.now();
            steps.push(certificate(&listen.name, pair, env).since(clock, begun));
        }
    }
    steps.push(descriptors(config));
    let state = findings.iter().find(|one| one.key == "state.directory");
    steps.extend(state.map(|one| step(Link::State, one)));
    steps
}

/// What the file names, beside certificates, the state and PATs, which have steps of their own.
fn files(findings: &[Finding]) -> Step {
    let own = |key: &str| key == "state.directory" || key.ends_with(".certificate") || key.starts_with("credentials.");
    let all: Vec<_> = findings.iter().filter(|one| !own(&one.key)).collect();
    let lines = |severity| all.iter().filter(|one| one.severity == severity).map(|one| one.line()).collect::<Vec<_>>();
    match all.iter().find(|one| one.severity == Severity::Error) {
        Some(first) => {
            let what = format!("{}: {}", first.key, first.what);
            Step::bad(Link::Files, "", first.owner, what).with(lines(Severity::Error)).next(&*first.remedy)
        }
        None => Step::good(Link::Files, "", "roots, keys and secret files can be read").with(lines(Severity::Warning)),
    }
}

fn step(link: Link, finding: &Finding) -> Step {
    let step = match finding.severity {
        Severity::Ok | Severity::Warning => Step::good(link, "", &*finding.what),
        Severity::Error => Step::bad(link, "", finding.owner, &*finding.what),
    };
    step.next(&*finding.remedy)
}

/// A listener's certificate: its end, chain and names, and what drivers say if they refuse it.
fn certificate(listener: &str, pair: &KeyPair, env: &Env) -> Step {
    let (link, now) = (Link::Certificate, env.clock.wall());
    let read = match ServerCertificate::read(pair) {
        Ok(read) => read,
        Err(error) => {
            let step = Step::bad(link, listener, Owner::Gate, chain(&error));
            return step.next("Correct the file; a gate does not start with it.");
        }
    };
    if let Err(error) = read.check_time(now) {
        let step = Step::failed(link, listener, Kind::CertificateExpired, chain(&error));
        return step.with(drivers::words(Refusal::Time));
    }
    if let Some(flaw) = read.flaws.iter().find(|flaw| !matches!(flaw, Flaw::Alone { .. })) {
        let why = if *flaw == Flaw::NoNames { Refusal::Name } else { Refusal::Issuer };
        let step = Step::bad(link, listener, Owner::Gate, flaw.what()).next(flaw.remedy());
        return step.with(drivers::words(why));
    }
    let (ends, days) = (rfc3339::show(read.ends), read.left(now).as_secs() / 86_400);
    let what = format!("for {}, issued by {}, ends {ends} ({days} days)", read.names.join(", "), read.issuer);
    let mut step = Step::good(link, listener, what);
    if !tls::is_trusted_here(&pair.certificate, &read, now) {
        step.details
            .push("this machine does not trust the issuer; if it is a private CA, its root has to stand in".into());
        step.details.extend(drivers::roots());
    }
    match read.flaws.first() {
        Some(flaw) => {
            step.details.insert(0, flaw.what());
            step.next(flaw.remedy())
        }
        None if days < DAYS.min(read.life().as_secs() / 86_400 / 3) => {
            step.next("Renew it; a running gate takes the new one up by itself.")
        }
        None => step,
    }
}

fn descriptors(config: &Config) -> Step {
    let wanted = config.listen.connections;
    match room_for_connections(wanted) {
        (None, _) => Step::unknown(Link::Descriptors, "", "this system tells no limit"),
        (Some(most), room) if room < wanted => {
            let what = format!("{most} descriptors are enough for {room} connections, not for {wanted}");
            // The gate runs with fewer connections, and says so.
            let step = match room < FEW {
                true => Step::bad(Link::Descriptors, "", Owner::Gate, what),
                false => Step::good(Link::Descriptors, "", what),
            };
            step.next("Raise LimitNOFILE of the service or the hard `ulimit -n`, or lower listen.connections.")
        }
        (Some(most), _) => Step::good(Link::Descriptors, "", format!("{most}, enough for {wanted} connections")),
    }
}
