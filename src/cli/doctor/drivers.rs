//! What drivers say when they refuse the gate's certificate, so that a tool's text can be found here; and where each
//! looks for the roots that it trusts.
//!
//! Seen with Python connector 4, the universal driver of Python 5 and ODBC, JDBC, Node, and Go 2 (which ADBC and so
//! Power BI use).

/// Why they refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its time.
    Time,
    /// Its name.
    Name,
    /// Its issuer, or its chain.
    Issuer,
}

/// The words of each driver.
pub(super) fn words(why: Refusal) -> Vec<String> {
    let all = match why {
        Refusal::Time => [
            "certificate verify failed: certificate has expired",
            "invalid peer certificate: Expired",
            "PKIX path validation failed: validity check failed",
            "certificate has expired",
            "x509: certificate has expired or is not yet valid, after minutes of retries",
        ],
        Refusal::Name => [
            "certificate verify failed: Hostname mismatch",
            "invalid peer certificate: NotValidForName",
            "No subject alternative names matching … found",
            "Hostname/IP does not match certificate's altnames",
            "x509: certificate is valid for …, not …, after minutes of retries",
        ],
        Refusal::Issuer => [
            "certificate verify failed (250003)",
            "invalid peer certificate: UnknownIssuer",
            "PKIX path building failed, or: Path does not chain with any of the trust anchors",
            "self-signed certificate in certificate chain, or: unable to get local issuer certificate",
            "x509: certificate signed by unknown authority, after minutes of retries",
        ],
    };
    let drivers = ["Python", "Python 5 and ODBC (in its error trace)", "JDBC", "Node", "Go, ADBC and Power BI"];
    drivers.iter().zip(all).map(|(driver, words)| format!("{driver}: {words}")).collect()
}

/// Where each driver looks for roots: a private CA has to stand there.
pub(super) fn roots() -> Vec<String> {
    [
        "Power BI (ADBC), Go and .NET: the system's store; Go and ADBC on Linux also SSL_CERT_FILE",
        "ODBC 4, Python 5 and the JDBC driver that is built on the same core: the system's store, or SSL_CERT_FILE",
        "ODBC 3: the file that CABundleFile names",
        "Python up to 4: certifi, or REQUESTS_CA_BUNDLE",
        "JDBC: the truststore of its Java",
        "Node: its own roots, and NODE_EXTRA_CA_CERTS",
    ]
    .map(str::to_owned)
    .into()
}
