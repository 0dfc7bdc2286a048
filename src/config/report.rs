//! [`Report`]: all errors in a file, each with its place and what to write instead.
//!
//! It never quotes a value: the operator may have written a secret in place of a reference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// The problems of one file.
#[derive(Debug, Clone)]
pub struct Report {
    file: String,
    lines: Vec<usize>,
    length: usize,
    problems: Vec<Problem>,
    keys: BTreeMap<String, Asked>,
}

/// A key that the reader asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Whether the file has it.
    pub there: bool,
    /// What it may be in TOML.
    pub forms: BTreeSet<Form>,
    /// What to write, for people.
    pub wanted: String,
    /// What fits, for programs, where that can be said.
    pub fits: Option<Fits>,
}

/// What fits of the values of one form. The reader takes nothing else, and looks at more than this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fits {
    /// A string, or each of a list, that matches a regular expression.
    Pattern(&'static str),
    /// One of some words.
    Words(Vec<&'static str>),
    /// A number in a range, both ends included.
    Between(usize, usize),
}

/// What a value is in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer,
    /// A number with or without a fraction.
    Number,
    /// A list of strings.
    List,
    /// A table.
    Table,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    at: usize,
    /// Its key, with the tables around it, or empty.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
    /// With a warning the gate still starts.
    pub warning: bool,
}

impl Report {
    /// An empty report about a file and its text.
    pub fn new(file: impl Into<String>, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), lines, length: text.len(), problems: Vec::new(), keys: BTreeMap::new() }
    }

    /// Adds an error.
    pub fn error(
        &mut self,
        span: &Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(span, key.into(), what.into(), remedy.into(), false);
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        span: &Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(span, key.into(), what.into(), remedy.into(), true);
    }

    fn add(&mut self, span: &Range<usize>, key: String, what: String, remedy: String, warning: bool) {
        self.problems.push(Problem { at: span.start.min(self.length), key, what, remedy, warning });
    }

    /// The reader asked for a key, which was there or not.
    pub(super) fn asked(&mut self, key: String, there: bool, form: Form, wanted: &str) {
        let asked = self.keys.entry(key).or_default();
        asked.there |= there;
        asked.forms.insert(form);
        // A key that is read in several ways says the most in the longest of them.
        if asked.wanted.len() < wanted.len() {
            wanted.clone_into(&mut asked.wanted);
        }
    }

    /// What fits for a key.
    pub(super) fn fits(&mut self, key: String, fits: Fits) {
        self.keys.entry(key).or_default().fits = Some(fits);
    }

    /// Every key that the reader asked for, with its tables (`*` for a name that the operator chose).
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Asked)> {
        self.keys.iter().map(|(key, asked)| (key.as_str(), asked))
    }

    /// Whether there is an error among the problems.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| !problem.warning)
    }

    /// The problems in the order of the file, each with line and column (both from 1; the column counts bytes).
    pub fn problems(&self) -> impl Iterator<Item = (usize, usize, &Problem)> {
        let mut sorted: Vec<_> = self.problems.iter().collect();
        sorted.sort_by_key(|problem| problem.at);
        sorted.into_iter().map(|problem| {
            let line = self.lines.partition_point(|start| *start <= problem.at);
            (line, problem.at - self.lines[line - 1] + 1, problem)
        })
    }

    /// The file it is about.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, column, problem) in self.problems() {
            let grade = if problem.warning { "warning: " } else { "" };
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            let end = if problem.remedy.ends_with(['.', '?']) { "" } else { "." };
            writeln!(f, "{}:{line}:{column}: {grade}{key}{}. {}{end}", self.file, problem.what, problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
