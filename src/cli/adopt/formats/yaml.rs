//! `profiles.yml` of dbt, and other YAML. The text is kept as it is; saphyr says where each value stands.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{below, line_start};
use crate::cli::adopt::settings::{Form, Settings, Spot};

/// The widest indentation that is read, in columns.
const DEEPEST: usize = 400;

pub(super) fn read(text: &str) -> Result<Vec<Settings>, String> {
    // The parser goes down by itself.
    if text.lines().any(|line| line.len() - line.trim_start().len() > DEEPEST) {
        return Err("it is nested too deeply".to_owned());
    }
    let documents = MarkedYaml::load_from_str(text).map_err(|error| error.to_string())?;
    // The parser counts characters.
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut found = Vec::new();
    documents.iter().for_each(|one| walk(text, &bytes, one, "", &mut found));
    // What is built on another mapping has settings that do not stand with it.
    if text.lines().any(|line| line.trim_start().trim_start_matches("- ").starts_with("<<:")) {
        found.iter_mut().for_each(|one| one.unfit = Some("its file builds settings on others (<<)"));
    }
    Ok(found)
}

fn walk(text: &str, bytes: &[usize], node: &MarkedYaml<'_>, label: &str, found: &mut Vec<Settings>) {
    let map = match &node.data {
        YamlData::Mapping(map) => map,
        YamlData::Sequence(all) => return all.iter().for_each(|one| walk(text, bytes, one, label, found)),
        _ => return,
    };
    let place = |index: usize| bytes.get(index).copied().unwrap_or(text.len());
    let mut entries = Vec::new();
    let (mut at, mut tagged) = (None, false);
    for (key, value) in map {
        let Some(name) = key.data.as_str() else { continue };
        let (start, end) = (place(value.span.start.index()), place(value.span.end.index()));
        match &value.data {
            YamlData::Value(scalar) => {
                let Some(spot) = spot(text, start, end, scalar) else { continue };
                entries.push((name.to_ascii_lowercase(), spot));
                at = at.or(Some(place(key.span.start.index())));
            }
            YamlData::Tagged(..) => tagged = true,
            _ => {
                walk(text, bytes, value, &below(label, name), found);
            }
        }
    }
    let is_dbt = |(name, spot): &(String, Spot)| name == "type" && spot.value.expose() == "snowflake";
    let known = entries.iter().any(is_dbt);
    let at = at.unwrap_or_default();
    let line = line_start(text, at);
    let form = Form::Yaml(text[line..at].to_owned());
    // The mapping begins behind a dash or in braces.
    let unfit = (!text[line..at].trim().is_empty()).then_some("its settings do not stand in lines of their own");
    let unfit = unfit.or(tagged.then_some("one of its values has a tag"));
    found.push(Settings { label: label.to_owned(), entries, known, at, form, unfit });
}

/// The value of a scalar, without its quotes.
fn spot(text: &str, start: usize, end: usize, scalar: &Scalar<'_>) -> Option<Spot> {
    let shown = text.get(start..end)?.trim_end();
    let framed = shown.len() > 1 && shown.starts_with(['"', '\'']);
    let range = if framed { start + 1..start + shown.len() - 1 } else { start..start + shown.len() };
    Some(match scalar {
        Scalar::Null => return None,
        Scalar::String(value) => Spot::spelt(text, range, value),
        _ => Spot::of(text, range),
    })
}
