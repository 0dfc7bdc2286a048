//! Files of environment variables: `.env`, `NAME.env`. Variables whose names differ in their end alone stand together.

use std::collections::BTreeMap;

use super::ini::{lines, unquoted};
use super::pairs;
use crate::cli::adopt::login::{is_host, is_setting, is_telling};
use crate::cli::adopt::settings::{Form, Settings};

pub(super) fn read(text: &str, gate: Option<&str>) -> Vec<Settings> {
    let mut found: BTreeMap<String, Settings> = BTreeMap::new();
    let mut others: Vec<String> = Vec::new();
    for (start, line) in lines(text) {
        let bare = line.trim_start();
        let lead = line.len() - bare.len();
        let export = bare.strip_prefix("export ").map_or(0, |_| "export ".len());
        let Some((name, value)) = bare[export..].split_once('=').filter(|_| !bare.starts_with('#')) else { continue };
        let from = start + lead + export + name.len() + 1 + (value.len() - value.trim_start().len());
        let spot = unquoted(text, from, without_comment(value.trim()));
        let lower = name.trim().to_ascii_lowercase();
        let (family, setting) = match split(&lower) {
            Some(place) => place,
            // The value decides where the name does not.
            None if pairs::read("", &spot, gate).is_some() => (lower.as_str(), "url"),
            None if is_host(spot.value.expose(), gate) => (lower.as_str(), "host"),
            None => {
                others.extend((is_telling(&lower) && !spot.value.expose().is_empty()).then_some(lower));
                continue;
            }
        };
        let one = found.entry(family.to_owned()).or_insert_with(|| Settings {
            label: format!("{}*", family.to_ascii_uppercase()),
            entries: Vec::new(),
            known: family.contains("snow") || family.starts_with("sf_"),
            at: start,
            // Only its author knows which variable a program reads.
            form: Form::Fixed,
            unfit: None,
        });
        one.entries.push((setting.to_owned(), spot));
    }
    // A user or a secret of the same family under a name that says more: which login is it of?
    let families: Vec<String> = found.keys().cloned().collect();
    for (family, settings) in &mut found {
        let stem = family.split('_').next().unwrap_or_default();
        let of_stem = |name: &String| !stem.is_empty() && name.starts_with(stem);
        let sister = |one: &&String| *one != family && one.starts_with(family.as_str()) && !family.is_empty();
        if others.iter().any(of_stem) || families.iter().any(|one| sister(&one)) {
            settings.unfit = Some("a user or a secret stands under a name that adopt does not know");
        }
    }
    found.into_values().collect()
}

/// A value without the comment behind it: after a blank, and after the closing quote. Where quotes begin within a word,
/// or do not end, only a shell knows, and nothing is taken off.
fn without_comment(value: &str) -> &str {
    let quoted = value.chars().next().filter(|quote| matches!(quote, '"' | '\''));
    let from = match quoted {
        Some(quote) => {
            let mut escaped = false;
            let end = value[1..].find(|c| {
                let ends = c == quote && !escaped;
                escaped = c == '\\' && quote == '"' && !escaped;
                ends
            });
            let Some(end) = end else { return value };
            end + 2
        }
        None => 0,
    };
    let is_comment = |at: usize| value[..from + at].ends_with(|c: char| c.is_whitespace());
    let comment = value[from..].match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at));
    match comment.map(|at| value[..from + at].trim_end()) {
        Some(bare) if quoted.is_some() || !bare.contains(['"', '\'']) => bare,
        _ => value,
    }
}

/// What comes before the name of a setting, and the setting.
fn split(name: &str) -> Option<(&str, &str)> {
    let starts = std::iter::once(0).chain(name.match_indices('_').map(|(at, _)| at + 1));
    starts.map(|at| name.split_at(at)).find(|(_, setting)| is_setting(setting))
}
