//! Statements of the gate's own, by which the operator sees whether a session and a PAT work: the requests, and the
//! first cell of their results.
//!
//! Facts: a driver posts `sqlText` to `/queries/v1/query-request` and reads `data.rowset` (`py:cursor.py`); the SQL API
//! takes `statement` and answers with `data` (`docs` "Snowflake SQL API reference").

use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::rest;
use crate::base::fault::{Fault, Kind};

/// Asks whether a session works.
pub const SELECT_1: &str = "SELECT 1";
/// Asks for the hosts that the account's drivers need (`docs` "SYSTEM$ALLOWLIST"); it needs no warehouse.
pub const ALLOWLIST: &str = "SELECT SYSTEM$ALLOWLIST()";

/// Asks for the address that Snowflake sees, which a network policy has to list (`docs` "CURRENT_IP_ADDRESS").
pub const CURRENT_IP_ADDRESS: &str = "SELECT CURRENT_IP_ADDRESS()";

/// A host that drivers need.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct AllowedHost {
    /// What it is for, such as `STAGE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The target and the body of a statement in a session.
pub fn query(id: &str, sql: &str) -> (String, String) {
    let body = json!({ "sqlText": sql, "asyncExec": false, "sequenceId": 1 });
    (format!("/queries/v1/query-request?requestId={id}"), body.to_string())
}

/// The target and the body of a statement by the SQL API.
pub fn sql_api(id: &str, sql: &str) -> (String, String) {
    (format!("{}?requestId={id}", rest::STATEMENTS), json!({ "statement": sql, "timeout": 10 }).to_string())
}

/// The first cell of the result of a statement in a session; `None` if it has another form.
///
/// # Errors
/// The fault, if the statement was refused, or the answer is no answer to it.
pub fn query_result(body: &[u8]) -> Result<Option<String>, Fault> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| garbled("the answer to a statement is no JSON"))?;
    match answer["success"].as_bool() {
        Some(true) => Ok(cell(&answer["data"]["rowset"])),
        Some(false) => Err(refused(&answer)),
        None => Err(garbled("the answer to a statement is not in Snowflake's form")),
    }
}

/// The same for the SQL API.
///
/// # Errors
/// Like [`query_result`].
pub fn sql_api_result(status: u16, body: &[u8]) -> Result<Option<String>, Fault> {
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| garbled(&format!("the SQL API answers {status} without JSON: a proxy may have answered")))?;
    if status == 200 { Ok(cell(&answer["data"])) } else { Err(refused(&answer)) }
}

/// The hosts in a result of [`ALLOWLIST`]; `None` if it has another form.
pub fn allowed_hosts(cell: &str) -> Option<Vec<AllowedHost>> {
    serde_json::from_str(cell).ok()
}

fn cell(rows: &Value) -> Option<String> {
    rows[0][0].as_str().map(str::to_owned)
}

fn garbled(what: &str) -> Fault {
    Fault::new(Kind::SnowflakeGarbled).with_cause(what)
}

/// A refusal; one in the gate's own words has the kind that they tell of.
fn refused(answer: &Value) -> Fault {
    let code = answer["code"].as_str().map_or_else(|| answer["code"].to_string(), str::to_owned);
    let message = answer["message"].as_str().unwrap_or_default();
    match Kind::of_sentence(message) {
        Some(kind) => Fault::new(kind).with_cause(message),
        None => {
            let refusal = Refusal::read(&code, message);
            Fault::new(refusal.kind()).with_cause(refusal.cause()).with_said(refusal.said())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::trace::TraceId;

    #[test]
    fn the_first_cell_or_the_refusal_is_read() {
        assert_eq!(query_result(br#"{"data":{"rowset":[["1"]]},"success":true}"#).unwrap().as_deref(), Some("1"));
        assert_eq!(query_result(br#"{"data":{"rowsetBase64":"x"},"success":true}"#).unwrap(), None);
        let kind = |body: &[u8]| query_result(body).unwrap_err().kind();
        assert_eq!(kind(br#"{"code":"394400","message":"no","success":false}"#), Kind::PatRefused);
        assert_eq!((kind(b"<html>"), kind(b"{}")), (Kind::SnowflakeGarbled, Kind::SnowflakeGarbled));
        assert_eq!(sql_api_result(200, br#"{"data":[["x"]]}"#).unwrap().as_deref(), Some("x"));
        let refused = sql_api_result(401, br#"{"code":"394401","message":"expired"}"#).unwrap_err();
        assert_eq!(refused.kind(), Kind::PatExpired);
    }

    #[test]
    fn the_gate_s_own_sentences_are_known_again() {
        let trace = TraceId::from_bytes([7; 16]);
        let text = Fault::new(Kind::KeyDamaged).sentence(trace);
        let body = json!({ "data": {}, "code": "390100", "message": text, "success": false }).to_string();
        assert_eq!(query_result(body.as_bytes()).unwrap_err().kind(), Kind::KeyDamaged);
    }

    #[test]
    fn hosts_are_read() {
        let hosts = allowed_hosts(r#"[{"type":"STAGE","host":"s.test","port":443}]"#).unwrap();
        assert_eq!(hosts, [AllowedHost { kind: "STAGE".into(), host: "s.test".into(), port: 443 }]);
        assert!(allowed_hosts("no").is_none());
    }
}
