//! [`Finding`]: one thing that a check has looked at, and what is wrong with it.

use serde::Serialize;

use crate::base::fault::Owner;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Severity {
    /// It can be used.
    Ok,
    /// The gate starts, and something else is wrong.
    Warning,
    /// The gate does not start, or logins fail.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Finding {
    /// Its key in the configuration.
    pub key: String,
    pub severity: Severity,
    /// Whose it is to mend.
    #[serde(serialize_with = "owner")]
    pub owner: Owner,
    /// What was found.
    pub what: String,
    /// What to do; empty if there is nothing to do, or if `what` says it.
    pub remedy: String,
}

fn owner<S: serde::Serializer>(owner: &Owner, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(owner.as_str())
}

impl Finding {
    /// Something that can be used.
    pub(super) fn ok(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, Owner::Gate, key, what, "")
    }

    /// Something that keeps the gate from nothing yet.
    pub(super) fn warning(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Owner::Gate, key, what, remedy)
    }

    /// Something that the gate cannot use.
    pub(super) fn error(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, Owner::Gate, key, what, remedy)
    }

    /// The same, of another owner.
    pub(super) fn of(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    fn new(
        severity: Severity,
        owner: Owner,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), severity, owner, what: what.into(), remedy: remedy.into() }
    }

    /// The line for people.
    pub(in crate::cli) fn line(&self) -> String {
        let Self { key, severity, owner, what, remedy } = self;
        let step = if remedy.is_empty() { String::new() } else { format!(". {remedy}") };
        match severity {
            Severity::Ok => format!("{key}: ok, {what}"),
            Severity::Warning => format!("{key}: warning: {what}{step} (owner: {})", owner.as_str()),
            Severity::Error => format!("{key}: error: {what}{step} (owner: {})", owner.as_str()),
        }
    }
}
