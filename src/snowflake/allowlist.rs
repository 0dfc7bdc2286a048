//! What `SELECT SYSTEM$ALLOWLIST()` answers: the hosts that a driver may need (`docs:` SYSTEM$ALLOWLIST).
//!
//! The gate takes of it what a driver reaches beside the account: stages, and what tells of revoked certificates. It
//! leaves out the account's own hosts, which it opens, and downloads and telemetry of the vendor's, which no report
//! needs.

use serde::Deserialize;

use crate::base::tunnel_target::TunnelTarget;

/// One host.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    host: String,
    port: u16,
}

/// The hosts that a tunnel may go to.
///
/// # Errors
/// If the text is no such answer: what is wrong, and where.
pub fn tunnel_targets(text: &str) -> Result<Vec<TunnelTarget>, serde_json::Error> {
    let all: Vec<Entry> = serde_json::from_str(text)?;
    let needed = |kind: &str| kind == "STAGE" || kind == "CRL_DISTRIBUTION_POINT" || kind.starts_with("OCSP_");
    let needed = all.iter().filter(|entry| needed(&entry.kind));
    Ok(needed.filter_map(|entry| TunnelTarget::exact(&entry.host, entry.port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_revocation_count() {
        let text = r#"[
            {"type":"SNOWFLAKE_DEPLOYMENT","host":"myorg-prod.snowflakecomputing.com","port":443},
            {"type":"STAGE","host":"sfc-eu-1.s3.eu-central-1.amazonaws.com","port":443},
            {"type":"SNOWSQL_REPO","host":"sfc-repo.snowflakecomputing.com","port":443},
            {"type":"OUT_OF_BAND_TELEMETRY","host":"client-telemetry.snowflakecomputing.com","port":443},
            {"type":"OCSP_CACHE","host":"ocsp.snowflakecomputing.com","port":80},
            {"type":"OCSP_RESPONDER","host":"ocsp.digicert.com","port":80},
            {"type":"CRL_DISTRIBUTION_POINT","host":"crl3.digicert.com","port":80}
        ]"#;
        let targets = tunnel_targets(text).unwrap();
        let any = |host, port| targets.iter().any(|target| target.is(host, port));
        assert_eq!(targets.len(), 4);
        assert!(any("sfc-eu-1.s3.eu-central-1.amazonaws.com", 443) && any("crl3.digicert.com", 80));
        assert!(!any("myorg-prod.snowflakecomputing.com", 443));
        assert!(tunnel_targets("{}").is_err());
    }
}
