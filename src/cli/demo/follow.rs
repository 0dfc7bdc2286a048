//! What happens to the tools that the reader connects while the demo stays up: a line for each login, and for each
//! failure what it is and what to do.

use crate::base::fault::Owner;
use serde_json::{Map, Value};

use super::ink::Ink;
use crate::cli::shell::say;
use crate::telemetry::captured_logs::Captured;

/// A line of the log, as the demo tells it.
pub(super) struct Told {
    fields: Map<String, Value>,
    /// The operator's next step; a failure has one.
    pub next_step: Option<String>,
}

impl Told {
    /// Whose failure it is.
    pub(super) fn owner(&self) -> Option<Owner> {
        serde_json::from_value(self.fields.get("owner")?.clone()).ok()
    }

    /// Reads a line; `None` if it is about no request.
    pub(super) fn read(line: &str) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let message = fields.get("message")?.as_str()?;
        let told = message == "login" || message == "slow login" || fields.contains_key("code");
        let next_step = fields.get("next_step").and_then(Value::as_str).map(str::to_owned);
        told.then_some(Self { fields, next_step })
    }

    fn field(&self, name: &str) -> Option<String> {
        self.fields.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// One line.
    fn line(&self) -> String {
        let named =
            ["message", "outcome", "driver", "driver_version", "application", "role", "code", "kind", "ms", "trace"];
        let shown = named.iter().filter_map(|name| Some((name, self.field(name)?)));
        let shown = shown.map(|(name, value)| match *name {
            "message" => value,
            name => format!("{name}={value}"),
        });
        shown.collect::<Vec<_>>().join("  ")
    }

    /// What it is, and what to do.
    pub(super) fn explained(&self) -> Vec<String> {
        let cause = self.field("cause").filter(|cause| !cause.is_empty()).map(|cause| format!("cause: {cause}"));
        let said = self.field("snowflake_text").map(|said| format!("Snowflake says: {said}"));
        let step = self.next_step.as_ref().map(|step| format!("do this: {step}"));
        [cause, said, step].into_iter().flatten().collect()
    }
}

/// Tells what comes from this line of the log on, for ever.
pub(super) async fn follow(log: &Captured, from: usize, ink: &Ink) {
    for number in from.. {
        let Some(line) = log.line(number).await else { continue };
        let Some(told) = Told::read(&line) else { continue };
        say(&ink.dim(&told.line()));
        if told.next_step.is_some() {
            told.explained().iter().for_each(|line| say(&ink.dim(&format!("  {line}"))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_failures_are_told_and_nothing_else() {
        let login =
            Told::read(r#"{"message":"login","outcome":"success","driver":"JDBC","ms":12,"trace":"t"}"#).unwrap();
        assert_eq!(login.line(), "login  outcome=success  driver=JDBC  ms=12  trace=t");
        assert!(login.explained().is_empty());
        let failed = r#"{"message":"request failed","code":"PG-105","cause":"c","next_step":"n"}"#;
        let failed = Told::read(failed).unwrap();
        assert_eq!(failed.explained(), ["cause: c", "do this: n"]);
        assert!(Told::read(r#"{"message":"listening"}"#).is_none() && Told::read("no json").is_none());
    }
}
