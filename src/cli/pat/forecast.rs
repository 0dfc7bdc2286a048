//! `patgate pat forecast`: which PATs end when, also as a calendar.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::ask;
use crate::app::Verb;
use crate::base::clock::Env;
use crate::base::rfc3339;
use crate::cli::shell::{CommandError, GateArgs, say, say_json, say_table};
use crate::pat::{Forecast, PatStatus};

/// What to print.
#[derive(Args)]
pub(in crate::cli) struct ForecastArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// Write a calendar (iCalendar, RFC 5545) with an entry for each end: to this file, or to stdout.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    ics: Option<PathBuf>,
}

/// The command.
pub(super) fn forecast(args: &ForecastArgs) -> Result<(), CommandError> {
    let (_, list) = ask(&args.gate, Verb::Pats, None)?;
    let now = Env::default().clock.wall();
    let all = Forecast::of(&list.pats, now);
    match &args.ics {
        Some(file) => {
            let warn = list.pats.iter().flat_map(|pat| pat.warn_s.iter().copied()).max();
            let text = calendar(&all, now, Duration::from_secs(warn.unwrap_or_default()));
            if file.as_os_str() == "-" {
                say(text.trim_end());
            } else {
                let failed = |error| CommandError::gate(format!("cannot write {}: {error}", file.display()));
                std::fs::write(file, text).map_err(failed)?;
            }
        }
        None if args.gate.json => say_json(&serde_json::json!({ "forecast": all })),
        None => say_table(
            ["credential", "ends", "says", "days left", "successor"],
            &all.iter().map(row).collect::<Vec<_>>(),
        ),
    }
    let mut wrong: Vec<_> =
        all.iter().filter_map(|one| Some(format!("{}: {}", one.credential, one.attention.as_ref()?))).collect();
    if args.ics.is_some() {
        wrong.extend(list.pats.iter().filter_map(without_entry));
    }
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::attention(wrong.join("\n"))) }
}

/// Why a PAT has no entry in the calendar. A key pair has no end.
fn without_entry(pat: &PatStatus) -> Option<String> {
    let known = pat.cached.as_ref().is_some_and(|cached| cached.expires.is_some());
    (pat.kind == "pat" && !known).then(|| {
        format!(
            "{}: has no entry, since nobody says when its PAT ends; `patgate pat status` has what is known. A rotator \
             (`patgate sql setup`), or the end of the version in the store, tells it",
            pat.credential
        )
    })
}

fn row(one: &Forecast) -> [String; 5] {
    let unknown = || "unknown".to_owned();
    [
        one.credential.clone(),
        one.expires.map_or_else(unknown, rfc3339::show),
        one.expires_from.map_or("", |from| from.as_str()).to_owned(),
        one.days_left.map(|days| days.to_string()).unwrap_or_default(),
        one.successor.clone().unwrap_or_default(),
    ]
}

/// The ends as a calendar, each with an alarm at the first warning where no successor stands ready.
fn calendar(all: &[Forecast], now: SystemTime, warn: Duration) -> String {
    let mut text = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//patgate//forecast//EN\r\n");
    for one in all {
        let Some(end) = one.expires else { continue };
        let (name, from) = (escaped(&one.credential), one.expires_from.map_or("", |from| from.as_str()));
        let what = one.successor.clone().unwrap_or_else(|| "no successor stands ready".to_owned());
        let what = escaped(&format!("Says the {from}; {what}"));
        // Writing to a string does not fail.
        let _written = write!(
            text,
            "BEGIN:VEVENT\r\nUID:{name}@patgate\r\nDTSTAMP:{}\r\nDTSTART:{}\r\nSUMMARY:The PAT of {name} ends\r\n\
             DESCRIPTION:{what}\r\n",
            stamp(now),
            stamp(end)
        );
        if one.successor.is_none() && !warn.is_zero() {
            let _written = write!(
                text,
                "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT{}S\r\nDESCRIPTION:The PAT of {name} ends soon\r\n\
                 END:VALARM\r\n",
                warn.as_secs()
            );
        }
        text += "END:VEVENT\r\n";
    }
    text += "END:VCALENDAR\r\n";
    folded(&text)
}

/// A time as RFC 5545, section 3.3.5, writes it.
fn stamp(at: SystemTime) -> String {
    rfc3339::show(at).chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// A text as RFC 5545, section 3.3.11, writes it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}

/// Lines of 75 bytes at most (RFC 5545, section 3.1).
fn folded(text: &str) -> String {
    let mut folded = String::new();
    for line in text.split_terminator("\r\n") {
        let mut width = 0;
        for c in line.chars() {
            if width + c.len_utf8() > 74 {
                folded += "\r\n ";
                width = 1;
            }
            folded.push(c);
            width += c.len_utf8();
        }
        folded += "\r\n";
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_has_an_entry_for_each_end_and_an_alarm_where_somebody_must_act() {
        let one = |credential: &str, successor: Option<&str>| Forecast {
            credential: credential.into(),
            expires: rfc3339::parse("2026-12-01T10:20:30Z"),
            expires_from: Some(crate::pat::EndSource::Token),
            days_left: Some(3),
            successor: successor.map(str::to_owned),
            attention: None,
        };
        let none = Forecast { expires: None, ..one("keys", None) };
        let now = rfc3339::parse("2026-11-27T00:00:00Z").unwrap();
        let text = calendar(&[one("bi;x", None), one("etl", Some("later")), none], now, Duration::from_secs(86_400));
        assert_eq!((text.matches("BEGIN:VEVENT").count(), text.matches("BEGIN:VALARM").count()), (2, 1), "{text}");
        assert!(text.contains("DTSTART:20261201T102030Z\r\n") && text.contains("UID:bi\\;x@patgate\r\n"), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
    }
}
