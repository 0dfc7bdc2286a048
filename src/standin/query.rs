//! The few statements that the stand-in understands.
//!
//! | statement | answer |
//! |---|---|
//! | `select N` | one row with the number |
//! | `select repeat('x', K) … generator(rowcount => N)` | N rows of K characters; in a stage, if a test has set one |
//! | `select system$wait(N [, 'SECONDS' \| 'MILLISECONDS'])` | after that time |
//! | `select 'standin:expire'` | as text, and the session token expires |
//! | `select current_ip_address()` | 192.0.2.1 |
//! | `select system$allowlist()` | what a test has set |
//! | anything else | "Statement executed successfully." |

use std::time::Duration;

use serde_json::json;

use super::body::Source;
use crate::snowflake::members::quoted;

/// The effect of a statement.
pub(super) struct Plan {
    pub rows: Rows,
    pub wait: Duration,
    pub expires_session: bool,
}

/// The result's rows.
pub(super) enum Rows {
    /// One integer.
    Number(i64),
    /// One text.
    Text(String),
    /// Many texts.
    Many { count: u64, length: usize },
    /// Many texts that lie in a stage, in so many parts of equal size.
    Staged { count: u64, stage: Stage },
}

/// Where many rows lie, if not in the answer.
#[derive(Clone)]
pub struct Stage {
    /// The address of the first part without its number, such as `https://stage.example.com/part-`.
    pub url: String,
    /// How many parts there are.
    pub parts: u64,
    /// How large each is before compression.
    pub bytes: u64,
    /// `json` or `arrow`.
    pub format: String,
}

impl Rows {
    /// The same rows in a stage, if they are many and there is one.
    pub(super) fn staged(self, stage: Option<&Stage>) -> Self {
        match (self, stage) {
            (Self::Many { count, .. }, Some(stage)) => Self::Staged { count, stage: stage.clone() },
            (rows, _) => rows,
        }
    }
}

/// Whether a statement asks for the hosts that drivers need.
pub(super) fn asks_for_hosts(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("system$allowlist(")
}

/// Reads a statement.
pub(super) fn plan(sql: &str) -> Plan {
    let sql = sql.trim().trim_end_matches(';').to_ascii_lowercase();
    let rows = if let Some(count) = number_after(&sql, "rowcount => ") {
        let length = number_after(&sql, "repeat('x', ").and_then(|length| usize::try_from(length).ok()).unwrap_or(1);
        Rows::Many { count, length }
    } else {
        match sql.strip_prefix("select ").map(|rest| rest.split(" as ").next().unwrap_or(rest).trim()) {
            Some(value) if value.parse::<i64>().is_ok() => Rows::Number(value.parse().unwrap_or_default()),
            Some("current_ip_address()") => Rows::Text("192.0.2.1".into()),
            Some("'standin:expire'") => Rows::Text("standin:expire".into()),
            _ => Rows::Text("Statement executed successfully.".into()),
        }
    };
    let wait = match number_after(&sql, "system$wait(") {
        Some(n) if sql.contains("'milliseconds'") => Duration::from_millis(n),
        Some(n) => Duration::from_secs(n),
        None => Duration::ZERO,
    };
    let expires_session = matches!(&rows, Rows::Text(text) if text == "standin:expire");
    Plan { rows, wait, expires_session }
}

fn number_after(sql: &str, mark: &str) -> Option<u64> {
    let rest = &sql[sql.find(mark)? + mark.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The successful answer to a query: JSON rows, in the form that all drivers accept.
pub(super) fn result(rows: &Rows, query: &str) -> Source {
    let (kind, count) = match rows {
        Rows::Number(_) => (r#""type":"fixed","scale":0,"precision":38,"length":null,"byteLength":null"#, 1),
        Rows::Text(_) => (TEXT, 1),
        Rows::Many { count, .. } | Rows::Staged { count, .. } => (TEXT, *count),
    };
    let head = format!(
        concat!(
            r#"{{"data":{{"parameters":[{{"name":"CLIENT_RESULT_CHUNK_SIZE","value":160}}],"#,
            r#""rowtype":[{{"name":"C","database":"","schema":"","table":"",{},"#,
            r#""nullable":false,"collation":null}}],"rowset":["#
        ),
        kind
    );
    let tail = format!(
        concat!(
            r#"],"total":{0},"returned":{0},"queryId":"{1}","databaseProvider":null,"finalDatabaseName":null,"#,
            r#""finalSchemaName":null,"finalWarehouseName":null,"finalRoleName":"PUBLIC","numberOfBinds":0,"#,
            r#""arrayBindSupported":false,"statementTypeId":4096,"version":1,"sendResultTime":1700000000000,"#,
            r#""queryResultFormat":"json"}},"code":null,"message":null,"success":true}}"#
        ),
        count, query
    );
    match rows {
        Rows::Number(number) => Source::Whole(format!(r#"{head}["{number}"]{tail}"#).into()),
        Rows::Text(text) => Source::Whole(format!(r#"{head}[{}]{tail}"#, quoted(text)).into()),
        Rows::Many { count, length } => Source::Rows {
            head: head.into(),
            row: format!(r#"["{}"],"#, "x".repeat(*length)).into(),
            left: *count,
            tail: tail.into(),
        },
        Rows::Staged { count, stage: Stage { url, parts, bytes, format } } => {
            let part = |number: u64| {
                json!({
                    "url": format!("{url}{number}"), "rowCount": count / parts, "uncompressedSize": bytes,
                    "compressedSize": bytes,
                })
            };
            let chunks = json!((0..*parts).map(part).collect::<Vec<_>>());
            let (head, tail) = match format.as_str() {
                "arrow" => (
                    head.replace("rowset\":[", "rowsetBase64\":\"\",\"rowset\":["),
                    tail.replace("at\":\"json", "at\":\"arrow"),
                ),
                _ => (head, tail),
            };
            let chunks = format!(r#"],"chunks":{chunks},"chunkHeaders":{{}},"qrmk":"none""#);
            let tail = tail.replacen(']', &chunks, 1);
            Source::Whole(format!("{head}{tail}").into())
        }
    }
}

const TEXT: &str = r#""type":"text","scale":null,"precision":null,"length":16777216,"byteLength":16777216"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_understood() {
        assert!(matches!(plan("SELECT 1;").rows, Rows::Number(1)));
        assert!(matches!(plan("select 1 as id").rows, Rows::Number(1)));
        let many = plan("select repeat('x', 100) as c from table(generator(rowcount => 100000))").rows;
        assert!(matches!(many, Rows::Many { count: 100_000, length: 100 }));
        assert_eq!(plan("select system$wait(3)").wait, Duration::from_secs(3));
        assert_eq!(plan("select system$wait(30, 'MILLISECONDS')").wait, Duration::from_millis(30));
        assert!(plan("select 'standin:expire'").expires_session);
    }
}
