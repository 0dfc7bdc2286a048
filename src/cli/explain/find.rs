//! What somebody wants to have explained, from the text that he has.

use crate::base::fault::Kind;
use crate::base::trace::TraceId;
use crate::snowflake::refusal::Refusal;

/// What drivers and TLS libraries say where the gate could send no text of its own.
const OF_TOOLS: [(&str, Kind); 24] = [
    ("certificate has expired", Kind::CertificateExpired),
    ("certificate is not yet valid", Kind::CertificateExpired),
    ("invalid peer certificate: expired", Kind::CertificateExpired),
    ("validity check failed", Kind::CertificateExpired),
    ("certificate_expired", Kind::CertificateExpired),
    ("certificate verify failed", Kind::TlsDistrusted),
    ("unable to get local issuer", Kind::TlsDistrusted),
    ("pkix path building failed", Kind::TlsDistrusted),
    ("unknown_ca", Kind::TlsDistrusted),
    ("badsignature", Kind::TlsDistrusted),
    ("unknownissuer", Kind::TlsDistrusted),
    ("self signed certificate", Kind::TlsDistrusted),
    ("signed by unknown authority", Kind::TlsDistrusted),
    ("self-signed certificate", Kind::TlsDistrusted),
    ("unable to verify the first certificate", Kind::TlsDistrusted),
    ("unable to verify leaf signature", Kind::TlsDistrusted),
    ("ssl peer certificate or ssh remote key was not ok", Kind::TlsDistrusted),
    ("hostname mismatch", Kind::TlsDistrusted),
    ("no subject alternative dns name matching", Kind::TlsDistrusted),
    ("certificate is valid for", Kind::TlsDistrusted),
    ("does not match certificate's altnames", Kind::TlsDistrusted),
    ("wrong version number", Kind::TlsAbsent),
    ("eof occurred in violation of protocol", Kind::AddressUnexpected),
    ("incorrect username or password was specified", Kind::KeyWrong),
];

/// What the texts of limits say, whose messages are made of the limit alone (`crate::admit`).
const OF_LIMITS: [(&str, Kind); 3] = [
    ("has made too many logins", Kind::LoginLimit),
    ("has made too many", Kind::RequestLimit),
    ("under way; the next is possible", Kind::RequestLimit),
];

/// What is to be explained.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A request by its trace id, or a session by the gate's own id, which has the same form; and the kind that the
    /// text beside it tells.
    Id(String, Option<Kind>),
    /// A kind of failure.
    Kind(Kind),
    /// None of them.
    Unknown,
}

/// Reads it: the most exact first.
pub(super) fn subject(text: &str) -> Subject {
    let text = text.trim();
    if let Some(id) = id(text) {
        return Subject::Id(id, kind(text));
    }
    kind(text).map_or(Subject::Unknown, Subject::Kind)
}

/// An id in a text.
fn id(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.len() == 32)
        .find_map(|word| TraceId::parse(&word.to_ascii_lowercase()))
        .map(|id| id.to_string())
}

/// The kind of a code, a name, a text of the gate's, or a code or a text of Snowflake's.
fn kind(text: &str) -> Option<Kind> {
    let all = || Kind::ALL.iter().copied();
    let words = || text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    let named = |word: &str| {
        all().find(|kind| {
            let rule = kind.rule();
            rule.name.eq_ignore_ascii_case(word) || rule.code.to_string().eq_ignore_ascii_case(word)
        })
    };
    if let Some(kind) = words().find_map(named) {
        return Some(kind);
    }
    // Drivers break the lines of a text.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // How much of the text is the gate's own for this kind; of two that fit, the one that says more is meant.
    let says = |kind: Kind| {
        let parts: Vec<_> = kind.rule().message.split("{}").map(str::trim).filter(|part| part.len() > 12).collect();
        let all = !parts.is_empty() && parts.iter().all(|part| flat.contains(part));
        all.then(|| (parts.iter().map(|part| part.len()).sum::<usize>(), kind))
    };
    // The first of those that say the same.
    let best = all().rev().filter_map(says).max_by_key(|(length, _)| *length);
    if let Some((_, kind)) = best {
        return Some(kind);
    }
    if let Some((_, kind)) = OF_LIMITS.iter().find(|(words, _)| flat.contains(words)) {
        return Some(*kind);
    }
    // What tools say of a handshake that they gave up themselves.
    let lower = flat.to_lowercase();
    if let Some((_, kind)) = OF_TOOLS.iter().find(|(words, _)| lower.contains(words)) {
        return Some(*kind);
    }
    // Snowflake's code, and its text as far as it stands there alone.
    let codes = || words().filter(|word| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit()));
    let read = |code: &str, text: &str| {
        Some(Refusal::read(code, text).client_kind()).filter(|kind| *kind != Kind::LoginRefused)
    };
    // A driver's own code stands before Snowflake's.
    codes()
        .filter(|code| *code != "390100")
        .find_map(|code| read(code, ""))
        .or_else(|| read("", &flat))
        // The gate's own refusals at login have Snowflake's code for a wrong password.
        .or_else(|| codes().any(|code| code == "390100").then_some(Kind::KeyWrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_from_the_most_exact_to_the_least() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(subject(trace), Subject::Id(trace.to_owned(), None));
        let shown =
            format!("250001 (08001): patgate: the client key is not known to this gate. Compare (trace {trace})");
        assert_eq!(subject(&shown), Subject::Id(trace.to_owned(), Some(Kind::ClientUnknown)));
        for (text, kind) in [
            ("PG-605", Kind::PatRefused),
            ("pg-608", Kind::PatExpired),
            ("pat_policy", Kind::PatPolicy),
            ("error 394401 from Snowflake", Kind::PatExpired),
            ("250001 (08001): Failed to connect to DB: 394401", Kind::PatExpired),
            ("x509: certificate is valid for localhost, not gate", Kind::TlsDistrusted),
            ("390100", Kind::KeyWrong),
            ("Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.", Kind::PatPolicy),
            (
                "SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer",
                Kind::TlsDistrusted,
            ),
            (
                "your key is fine, but Snowflake refuses the role or the context that the gate is set to ask for. \
                 Give it",
                Kind::CredentialContext,
            ),
            ("Snowflake refuses the role. Check the role", Kind::RoleRefused),
            (
                "390100 (08004): patgate: this client has made too many logins; the next is possible in 5 s",
                Kind::LoginLimit,
            ),
            (
                "patgate: this client has 32 requests under way; the next is possible when one of them ends",
                Kind::RequestLimit,
            ),
            ("PKIX path validation failed: validity check failed", Kind::CertificateExpired),
            ("invalid peer certificate: Expired", Kind::CertificateExpired),
            ("certificate verify failed: certificate is not yet valid", Kind::CertificateExpired),
            ("your address 10.0.0.1 is not in a network that\n  this client may use", Kind::NetworkDenied),
        ] {
            assert_eq!(subject(text), Subject::Kind(kind), "{text}");
        }
        for unknown in ["", "hello", "PG-999"] {
            assert_eq!(subject(unknown), Subject::Unknown, "{unknown}");
        }
    }
}
