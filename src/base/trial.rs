//! [`Trial`]: one thing that the gate or a command has tried for the operator, and what came of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Kind};

/// What came of a try. Nothing in it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Whether it worked; `None` if it was not tried, or tells nothing.
    pub ok: Option<bool>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The kind of the failure.
    #[serde(default, with = "kind_name", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What was found, or why it failed or was not tried.
    pub what: String,
}

impl Trial {
    /// It worked.
    pub fn good(what: impl Into<String>, took: Duration) -> Self {
        Self { ok: Some(true), ms: whole_ms(took), kind: None, what: what.into() }
    }

    /// It failed.
    pub fn bad(fault: &Fault, took: Duration) -> Self {
        Self { ok: Some(false), ms: whole_ms(took), kind: Some(fault.kind()), what: fault.cause().to_owned() }
    }

    /// It was not tried, for this reason.
    pub fn untried(why: impl Into<String>) -> Self {
        Self { what: why.into(), ..Self::default() }
    }

    /// What came of an outcome.
    pub fn of<T>(outcome: &Result<T, Fault>, took: Duration, good: impl FnOnce(&T) -> String) -> Self {
        match outcome {
            Ok(worked) => Self::good(good(worked), took),
            Err(fault) => Self::bad(fault, took),
        }
    }
}

fn whole_ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// A kind by its name.
mod kind_name {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::fault::Kind;

    pub(super) fn serialize<S: Serializer>(kind: &Option<Kind>, to: S) -> Result<S::Ok, S::Error> {
        match kind {
            Some(kind) => to.serialize_str(kind.rule().name),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Kind>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.and_then(|name| Kind::named(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_travels_with_the_name_of_its_kind() {
        let bad = Trial::bad(&Fault::new(Kind::PatRefused).with_cause("why"), Duration::from_millis(7));
        let text = serde_json::to_string(&bad).unwrap();
        assert_eq!(text, r#"{"ok":false,"ms":7,"kind":"pat_refused","what":"why"}"#);
        assert_eq!(serde_json::from_str::<Trial>(&text).unwrap(), bad);
        let untried = Trial::untried("no");
        assert_eq!(serde_json::from_str::<Trial>(&serde_json::to_string(&untried).unwrap()).unwrap(), untried);
    }
}
