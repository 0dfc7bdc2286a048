//! [`Section`]: one table of the file, read key by key.
//!
//! A section records the keys that the code reads; [`Section::finish`] refuses all others, and suggests the nearest
//! known key. Every method reports an error and returns `None`, so that one run finds every error.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::report::{Fits, Form, Report};
use super::units;

/// The state that all sections of one file share.
pub struct Context<'a> {
    /// The report.
    pub report: &'a RefCell<Report>,
    /// The directory that relative paths are relative to.
    pub base: &'a Path,
}

/// One table of the file.
pub struct Section<'a> {
    context: &'a Context<'a>,
    path: String,
    /// The same with `*` for names that the operator chose.
    kind: String,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

/// A value and its place.
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub span: Range<usize>,
}

impl<'a> Section<'a> {
    /// The section of a table; `path` is its name in errors, empty for the top.
    pub fn new(context: &'a Context<'a>, path: String, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let kind = path.clone();
        Self { context, path, kind, table, span, known: RefCell::default() }
    }

    /// The section of a table below this one.
    fn below(&self, path: String, kind: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { kind: joined(&self.kind, kind), ..Self::new(self.context, path, table, span) }
    }

    /// Reports an error about this whole section.
    pub fn error(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.context.report.borrow_mut().error(&self.span, self.path.clone(), what, remedy);
    }

    /// Reports an error about one of its values.
    pub fn error_at(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.context.report.borrow_mut().error(span, self.name_of(key), what, remedy);
    }

    /// Reports a warning about one of its values.
    pub fn warning_at(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.context.report.borrow_mut().warning(span, self.name_of(key), what, remedy);
    }

    fn name_of(&self, key: &str) -> String {
        joined(&self.path, key)
    }

    /// Makes a key known, whether it is there or not.
    fn know(&self, key: &'static str, form: Form, wanted: &str) {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.context.report.borrow_mut().asked(joined(&self.kind, key), self.has(key), form, wanted);
    }

    /// Says what fits for a key, for the schema of the file.
    fn fits(&self, key: &str, fits: Fits) {
        self.context.report.borrow_mut().fits(joined(&self.kind, key), fits);
    }

    /// Says that a string, or each of a list, matches a regular expression.
    pub fn matches(&self, key: &str, pattern: &'static str) {
        self.fits(key, Fits::Pattern(pattern));
    }

    /// Says the widest range of a whole number whose own range depends on the rest of the file.
    pub fn between(&self, key: &str, range: Range<usize>) {
        self.fits(key, Fits::Between(range.start, range.end));
    }

    fn get(&self, key: &'static str, form: Form, wanted: &str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        self.know(key, form, wanted);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), value.span()))
    }

    fn typed<T>(
        &self,
        key: &'static str,
        form: Form,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Found<T>> {
        let (value, span) = self.get(key, form, wanted)?;
        if let Some(value) = read(value) {
            return Some(Found { value, span });
        }
        self.error_at(&span, key, "the value does not fit", format!("Write {wanted}."));
        None
    }

    /// A string.
    pub fn text(&self, key: &'static str, wanted: &str) -> Option<Found<String>> {
        let fits = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
        self.typed(key, Form::Text, wanted, |value| value.as_str().filter(fits).map(str::to_owned))
    }

    /// A required string.
    pub fn required(&self, key: &'static str, wanted: &str) -> Option<Found<String>> {
        if !self.has(key) {
            self.know(key, Form::Text, wanted);
            self.error(format!("`{key}` is missing"), format!("Write {key} = … with {wanted}."));
            return None;
        }
        self.text(key, wanted)
    }

    /// A value parsed from a string.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        self.typed(key, Form::Text, wanted, |value| parse(value.as_str()?))
    }

    /// Like [`Section::parsed`], for a required value.
    pub fn required_parsed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        let found = self.required(key, wanted)?;
        if let Some(value) = parse(&found.value) {
            return Some(Found { value, span: found.span });
        }
        self.error_at(&found.span, key, "the value does not fit", format!("Write {wanted}."));
        None
    }

    /// One of some words, each with what it means.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<Found<T>> {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let wanted = match quoted.split_last() {
            Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            _ => quoted.concat(),
        };
        self.fits(key, Fits::Words(words.iter().map(|(word, _)| *word).collect()));
        let meant = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        self.parsed(key, &wanted, meant)
    }

    /// A duration with its unit, in a range.
    pub fn duration(&self, key: &'static str, default: Duration, range: Range<Duration>) -> Duration {
        let wanted = format!(
            "a duration from {} to {}, such as \"30s\", \"5m\" or \"250ms\"",
            units::show_duration(range.start),
            units::show_duration(range.end)
        );
        self.matches(key, units::DURATION);
        let parse = |text: &str| units::duration(text).filter(|value| *value >= range.start && *value <= range.end);
        self.parsed(key, &wanted, parse).map_or(default, |found| found.value)
    }

    /// A size in bytes with its unit, in a range.
    pub fn size(&self, key: &'static str, default: usize, range: Range<usize>) -> usize {
        let wanted = format!("a size from {} to {} bytes, such as \"64KiB\" or \"1MiB\"", range.start, range.end);
        self.matches(key, units::SIZE);
        let parse = |text: &str| units::size(text).filter(|value| *value >= range.start && *value <= range.end);
        self.parsed(key, &wanted, parse).map_or(default, |found| found.value)
    }

    /// A whole number in a range.
    pub fn count(&self, key: &'static str, range: Range<usize>) -> Option<Found<usize>> {
        let wanted = format!("a whole number from {} to {}", range.start, range.end);
        self.between(key, range.clone());
        self.typed(key, Form::Integer, &wanted, |value| {
            let number = value.as_integer().filter(|number| number.radix() == 10)?;
            number.as_str().parse().ok().filter(|n| *n >= range.start && *n <= range.end)
        })
    }

    /// A number with or without a fraction.
    pub fn number(&self, key: &'static str, wanted: &str, fits: impl Fn(f64) -> bool) -> Option<Found<f64>> {
        self.typed(key, Form::Number, wanted, |value| {
            let text = match (value.as_float(), value.as_integer()) {
                (Some(float), _) => float.as_str(),
                (None, Some(integer)) => integer.as_str(),
                (None, None) => return None,
            };
            text.replace('_', "").parse().ok().filter(|number| fits(*number))
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<Found<bool>> {
        self.typed(key, Form::Flag, "true or false, without quotes", DeValue::as_bool)
    }

    /// A path, made absolute against the file's directory.
    pub fn path(&self, key: &'static str) -> Option<Found<PathBuf>> {
        let found = self.text(key, "a path in quotes")?;
        Some(Found { value: self.context.base.join(found.value), span: found.span })
    }

    /// A required path.
    pub fn required_path(&self, key: &'static str, wanted: &str) -> Option<Found<PathBuf>> {
        let found = self.required(key, wanted)?;
        Some(Found { value: self.context.base.join(found.value), span: found.span })
    }

    /// A list of strings, each parsed; every bad element is reported.
    pub fn list<T>(&self, key: &'static str, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Found<Vec<T>>> {
        let brackets = format!("a list in brackets, each element {wanted}");
        let found = self.typed(key, Form::List, &brackets, DeValue::as_array)?;
        let mut values = Vec::new();
        let mut whole = true;
        for element in found.value.iter() {
            match element.get_ref().as_str().and_then(&parse) {
                Some(value) => values.push(value),
                None => {
                    whole = false;
                    self.error_at(&element.span(), key, "an element does not fit", format!("Write {wanted}."));
                }
            }
        }
        whole.then_some(Found { value: values, span: found.span })
    }

    /// A string or a list of strings, each parsed; the list may be empty.
    pub fn zero_or_more<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Found<Vec<T>>> {
        if self.table.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_array()) {
            self.know(key, Form::Text, wanted);
            return self.list(key, wanted, parse);
        }
        self.know(key, Form::List, wanted);
        let found = self.parsed(key, wanted, parse)?;
        Some(Found { value: vec![found.value], span: found.span })
    }

    /// A required string or list of strings, each parsed; never empty.
    pub fn one_or_more<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Found<Vec<T>>> {
        let is_list = self.table.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_array());
        if !is_list {
            self.know(key, Form::List, wanted);
            let found = self.required_parsed(key, wanted, parse)?;
            return Some(Found { value: vec![found.value], span: found.span });
        }
        self.know(key, Form::Text, wanted);
        let found = self.list(key, wanted, parse)?;
        if found.value.is_empty() {
            self.error_at(&found.span, key, "the list is empty", format!("Write {wanted}."));
            return None;
        }
        Some(found)
    }

    /// A table below this one.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let found = self.typed(key, Form::Table, "a table", DeValue::as_table)?;
        Some(self.below(self.name_of(key), key, found.value, found.span))
    }

    /// Whether a key exists and is a table; this does not make the key known.
    pub fn is_table(&self, key: &str) -> bool {
        self.table.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_table())
    }

    /// All tables below `key`, with the names that the operator gave them.
    pub fn named(&self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, value) in parent.table {
            let (name, span) = (name.get_ref().to_string(), name.span());
            match value.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}.{name}", parent.path);
                    sections.push((name, parent.below(path, "*", table, span)));
                }
                None => parent.error_at(
                    &span,
                    &name,
                    "this is not a table",
                    format!("Write [{}.NAME] and its keys below.", parent.path),
                ),
            }
        }
        sections
    }

    /// Whether a key exists; this does not make the key known.
    pub fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// The directory that relative paths are relative to.
    pub fn base(&self) -> &'a Path {
        self.context.base
    }

    /// Refuses every key that the code has not read.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (name, _) in self.table {
            let key = name.get_ref();
            if known.iter().any(|known| known == key) {
                continue;
            }
            let near = known.iter().map(|known| (strsim::damerau_levenshtein(known, key), *known)).min();
            let remedy = match near {
                Some((distance, near)) if distance <= 3.max(near.len() / 3) => format!("Did you mean `{near}`?"),
                _ => format!("Known here: {}.", known.join(", ")),
            };
            self.error_at(&name.span(), key, "this key is not known", remedy);
        }
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
