//! The runbook page of a kind of failure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::base::fault::{Kind, Owner};

/// For people.
pub(super) fn text(kind: Kind) -> String {
    let (rule, page) = (kind.rule(), kind.page());
    let mut text = format!("{} {} · {}\n\n", rule.code, rule.name, whose(rule.owner));
    let shown = match is_shown(kind) {
        true => format!("patgate: {}. {}", rule.message.replace("{}", "…"), rule.client_step),
        false => "no text of the gate: the connection ends before it could send one".to_owned(),
    };
    // Writing to memory does not fail.
    let _written = write!(
        text,
        "{}\n\nThe tool shows:  {shown}\nThe client:      {}\nThe operator:    {}\n",
        rule.meaning.trim(),
        rule.client_step,
        page.next_step
    );
    if !page.causes.is_empty() {
        text.push_str("\nWhat may hide behind it, the most frequent first:\n");
        page.causes.iter().for_each(|cause| text.push_str(&format!("  - {cause}\n")));
    }
    text
}

/// Whether the tool gets the gate's sentence: not where the connection ends before a request is answered.
fn is_shown(kind: Kind) -> bool {
    let ended = [Kind::Unadmitted, Kind::ClientLeft, Kind::AnswerBroken, Kind::CertificateExpired, Kind::TlsSlow];
    let before = [Kind::ProxyHeader, Kind::AddressUnexpected, Kind::AddressCrowd, Kind::NoPlace];
    let tls = [Kind::TlsDistrusted, Kind::TlsAbsent, Kind::TlsTooOld, Kind::TlsFailed, Kind::ClientCertificateUnknown];
    let certificate = [Kind::ClientCertificateExpired, Kind::ClientCertificateRevoked];
    ![&ended[..], &before, &tls, &certificate].iter().any(|kinds| kinds.contains(&kind))
}

/// For programs.
pub(super) fn json(kind: Kind) -> Value {
    let (rule, page) = (kind.rule(), kind.page());
    json!({
        "kind": rule.name, "code": rule.code.to_string(), "owner": rule.owner.as_str(), "meaning": rule.meaning.trim(),
        "message": rule.message, "client_step": rule.client_step, "next_step": page.next_step, "causes": page.causes,
    })
}

/// Whose it is, in words.
pub(super) fn whose(owner: Owner) -> &'static str {
    match owner {
        Owner::Client => "the client's: the tool, or whoever set it up",
        Owner::Network => "the network's between client and gate",
        Owner::Gate => "the gate's: its configuration, its machine, or a bug",
        Owner::Store => "the secrets manager's",
        Owner::Snowflake => "Snowflake's, or that of the way to it",
        Owner::Policy => "a rule's: a limit of the gate, or a policy of Snowflake",
    }
}
