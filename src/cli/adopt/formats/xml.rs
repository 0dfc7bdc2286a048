//! Tableau's workbooks and data sources: `<connection class='snowflake' server='…' username='…'>`.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::pairs::pairs;
use crate::cli::adopt::login::is_secret_or_user;
use crate::cli::adopt::settings::{Form, Settings, Spot};

pub(super) fn read(text: &str) -> Result<Vec<Settings>, String> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let mut source = String::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Eof => return Ok(found),
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                "datasource" => source = attribute(&tag, &["caption", "formatted-name"]).unwrap_or_default(),
                "connection" => found.extend(connection(text, &tag, &source)),
                _ => {}
            },
            _ => {}
        }
    }
}

fn connection(text: &str, tag: &BytesStart<'_>, source: &str) -> Option<Settings> {
    let raw = tag.attributes_raw();
    let at = within(text, raw)?.start + (raw.len() - raw.trim_start().len());
    let mut entries = Vec::new();
    for one in tag.attributes().flatten() {
        let range = within(text, &one.value)?;
        let value = quick_xml::escape::unescape(&text[range.clone()]).ok()?;
        entries.push((one.key.as_ref().to_ascii_lowercase(), Spot::spelt(text, range, &value)));
    }
    let known = entries.iter().any(|(name, spot)| name == "class" && spot.value.expose() == "snowflake");
    // Tableau hands these to the driver beside its own: a secret there goes past the fields.
    let extras = entries.iter().find(|(name, _)| name == "odbc-connect-string-extras").map(|(_, spot)| pairs(spot));
    let hidden = known && extras.iter().flatten().any(|(name, _)| is_secret_or_user(name));
    let unfit = hidden.then_some("odbc-connect-string-extras has a user or a secret of its own: take it out");
    if hidden {
        entries.extend(extras.into_iter().flatten());
    }
    Some(Settings { label: source.to_owned(), entries, known, at, form: Form::Xml, unfit })
}

fn attribute(tag: &BytesStart<'_>, names: &[&str]) -> Option<String> {
    let named = |name: &&str| tag.attributes().flatten().find(|one| one.key.as_ref() == *name);
    names.iter().find_map(named).map(|one| one.value.to_string())
}

/// Where a part of a text stands in it.
fn within(text: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let range = start..start + part.len();
    (text.get(range.clone()) == Some(part)).then_some(range)
}
