//! Results and refusals of statements about tokens, in the form of the SQL API and in that of drivers.
//!
//! Facts: the SQL API gives every value as a text, a `TIMESTAMP_LTZ` as seconds of the Unix epoch with nine decimals,
//! `null` as null; an error of the SQL has status 422 (`docs` "Snowflake SQL API reference", "Handling responses").
//! Drivers get the same texts in `rowset` (`py:converter.py`).

use serde_json::{Value, json};

use crate::base::epoch::EpochMillis;

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Time,
    Number,
}

/// A time as a result holds it.
pub(super) fn time(at: EpochMillis) -> String {
    format!("{}.{:03}000000", at.as_secs(), at.0 % 1_000)
}

impl Table {
    /// A result of texts in one row.
    pub(super) fn row(names: &[&'static str], values: Vec<String>) -> Self {
        let columns = names.iter().map(|name| Column { name, kind: Kind::Text }).collect();
        Self { columns, rows: vec![values.into_iter().map(Some).collect()] }
    }

    /// The result of a statement that has no other.
    pub(super) fn status(text: &str) -> Self {
        Self::row(&["status"], vec![text.to_owned()])
    }

    /// The body of the SQL API's answer.
    pub(super) fn sql_api(&self, handle: &str, request: &str, created: EpochMillis) -> Value {
        let rows = self.rows.len();
        json!({
            "resultSetMetaData": {
                "numRows": rows, "format": "jsonv2",
                "partitionInfo": [{ "rowCount": rows, "uncompressedSize": 100 * rows }],
                "rowType": self.columns.iter().map(Column::described).collect::<Vec<_>>(),
            },
            "data": self.rows, "code": "090001", "sqlState": "00000", "statementHandle": handle,
            "statementStatusUrl": format!("/api/v2/statements/{handle}?requestId={request}"), "requestId": request,
            "createdOn": created.0, "message": "Statement executed successfully.",
        })
    }

    /// `data` of the answer to a driver.
    pub(super) fn driver(&self, query: &str) -> Value {
        let rows = self.rows.len();
        json!({
            "parameters": [], "rowtype": self.columns.iter().map(Column::described).collect::<Vec<_>>(),
            "rowset": self.rows, "total": rows, "returned": rows, "queryId": query, "queryResultFormat": "json",
            "statementTypeId": 4096, "version": 1,
        })
    }
}

impl Column {
    fn described(&self) -> Value {
        let (kind, scale, precision, length) = match self.kind {
            Kind::Text => ("text", None, None, Some(16_777_216)),
            Kind::Time => ("timestamp_ltz", Some(9), Some(0), None),
            Kind::Number => ("fixed", Some(0), Some(38), None),
        };
        json!({
            "name": self.name, "database": "", "schema": "", "table": "", "type": kind, "scale": scale,
            "precision": precision, "length": length, "byteLength": length, "nullable": true, "collation": null,
        })
    }
}

/// A refused statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlRefused {
    pub code: String,
    pub sql_state: String,
    pub message: String,
}

impl SqlRefused {
    fn new(code: &str, sql_state: &str, message: String) -> Self {
        Self { code: code.to_owned(), sql_state: sql_state.to_owned(), message }
    }

    pub(super) fn syntax(near: &str) -> Self {
        let message = format!("SQL compilation error:\nsyntax error line 1 unexpected '{near}'.");
        Self::new("001003", "42000", message)
    }

    pub(super) fn missing(what: &str, name: &str) -> Self {
        let message = format!("SQL compilation error:\n{what} '{name}' does not exist or not authorized.");
        Self::new("002003", "02000", message)
    }

    pub(super) fn exists(name: &str) -> Self {
        Self::new("002002", "42710", format!("SQL compilation error:\nObject '{name}' already exists."))
    }

    pub(super) fn value(parameter: &str, value: u64) -> Self {
        let message = format!("SQL compilation error:\ninvalid value [{value}] for parameter '{parameter}'");
        Self::new("001008", "22023", message)
    }

    pub(super) fn privilege(user: &str) -> Self {
        let message = format!("SQL access control error:\nInsufficient privileges to operate on user '{user}'.");
        Self::new("003001", "42501", message)
    }

    pub(super) fn too_many() -> Self {
        Self::other("The maximum number of programmatic access tokens for this user has been reached.")
    }

    /// A refusal whose code is not known.
    pub(super) fn other(message: &str) -> Self {
        Self::new("099203", "0A000", message.to_owned())
    }

    /// The body of the SQL API's answer.
    pub(super) fn sql_api(&self, handle: &str) -> Value {
        json!({
            "code": self.code, "message": self.message, "sqlState": self.sql_state, "statementHandle": handle,
        })
    }
}
