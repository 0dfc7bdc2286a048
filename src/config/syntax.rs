//! Errors of TOML's syntax in words for an operator.
//!
//! The parser's own texts are short and know nothing of what people usually write. They may also quote the line, with a
//! secret in it; the texts here never do.

use std::ops::Range;

use toml::de::Error;

/// What is wrong, and what to write instead.
type Words = (String, &'static str);

/// The errors of a text with their places: the first of each line, because the others follow from it.
pub(super) fn errors(text: &str, all: &[Error]) -> Vec<(Range<usize>, Words)> {
    let mut told: Vec<(Range<usize>, Words)> = Vec::new();
    for error in all {
        let at = floor(text, error.span().map_or(0, |span| span.start));
        let line = line_around(text, at);
        if told.iter().all(|(span, _)| line_around(text, span.start) != line) {
            told.push((at..at, words(text, &line, error.message())));
        }
    }
    told
}

/// The nearest place at or before this one that is between two characters.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    start..end
}

fn words(text: &str, line: &Range<usize>, message: &str) -> Words {
    let written = text[line.clone()].trim();
    let begins = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    let told = |what: &str, remedy| (what.to_owned(), remedy);
    if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| written.starts_with(mark)) {
        return told("this is a mark of a merge conflict", "Resolve the conflict, and remove the mark");
    }
    if begins(&["duplicate key"]) {
        return twice(text, line, written);
    }
    if begins(&["key with no value", "invalid unquoted key", "invalid key-value pair"]) {
        return match () {
            () if written.starts_with(['{', '}']) => {
                told("this looks like JSON", "Write TOML: key = value, and [table]")
            }
            () if has_colon(written) => told("a colon stands between key and value", "Write key = value"),
            () => told("a key has no value", "Write key = value; a name with spaces or dots in it needs quotes"),
        };
    }
    if begins(&["too few unicode", "missing escaped value", "invalid escape", "invalid unicode"]) {
        return told(
            "a backslash in double quotes begins an escape",
            "Put a Windows path into single quotes, 'C:\\path', or write it with slashes",
        );
    }
    if begins(&["string values must be quoted", "invalid boolean", "invalid float", "invalid integer", "invalid date"])
    {
        return unquoted(written);
    }
    if begins(&["invalid basic string", "invalid literal string", "invalid multi-line"]) {
        return match message.contains("visible characters") {
            true => told("a string has a control character", "Remove it, or write it as an escape such as \\t"),
            false => told("a string has no closing quote", "Write the same quote at both ends, on one line"),
        };
    }
    if begins(&["unclosed table", "unclosed array table"]) {
        return told("the name of a table has no closing bracket", "Write [name] on a line of its own");
    }
    if begins(&["missing comma between array", "unclosed array"]) || message.contains("in array") {
        return told("a list has no comma between two values, or no closing bracket", "Write [\"one\", \"two\"]");
    }
    if begins(&["missing comma between key", "extra assignment", "unclosed inline table"]) {
        return told("a table in braces has no comma, or no closing brace", "Write { one = 1, two = 2 }");
    }
    if begins(&["unexpected key or value"]) {
        return told("something follows on the same line", "Write one key a line; a comment begins with #");
    }
    if begins(&["unquoted keys cannot be empty"]) {
        return told("a key, or a part of a table's name, is empty", "Write its name, without dots at its ends");
    }
    if begins(&["unexpected leading zero", "invalid mantissa", "unexpected sign"]) {
        return told("this is not a number", "Write a number without leading zeros, or a string in quotes");
    }
    if begins(&["cannot extend"]) {
        return told("this name already has a value of another kind", "Give one of the two another name");
    }
    told("this is not valid TOML", "Check quotes, brackets and `key = value`; strings need double quotes")
}

/// A key or a table that is there already, with the line of the first.
fn twice(text: &str, line: &Range<usize>, written: &str) -> Words {
    let is_table = written.starts_with('[');
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let above: Vec<_> = text[..line.start].lines().map(str::trim).collect();
    let first = match is_table {
        true => above.iter().position(|line| *line == written),
        false => {
            let table = above.iter().rposition(|line| line.starts_with('[')).map_or(0, |at| at + 1);
            above[table..].iter().position(|line| key(line) == key(written)).map(|at| table + at)
        }
    };
    let place = first.map_or(String::new(), |at| format!("; the first is in line {}", at + 1));
    match is_table {
        true => {
            (format!("this table is there twice{place}"), "Write its keys below the first, or give it another name")
        }
        false => (format!("this key is there twice{place}"), "Remove one of them; a list takes several values"),
    }
}

/// A value that is no string, number, flag, list or table.
fn unquoted(written: &str) -> Words {
    let value = written.split_once('=').map_or("", |(_, value)| value.trim());
    let (what, remedy) = match value {
        "" => ("a key has no value", "Write one after the ="),
        _ if value.starts_with(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}']) => {
            ("these quotes are a word processor's", "Write straight double quotes")
        }
        _ if ["true", "false"].iter().any(|flag| value.eq_ignore_ascii_case(flag)) => {
            ("true and false have small letters", "Write true or false")
        }
        _ => ("a string has no quotes", "Write double quotes around it; only numbers, true and false have none"),
    };
    (what.to_owned(), remedy)
}

/// Whether a line is `key: value`.
fn has_colon(written: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | ' ');
    written.split_once(':').is_some_and(|(key, _)| !key.is_empty() && key.chars().all(name))
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn first(text: &str) -> String {
        let (_, all) = DeTable::parse_recoverable(text);
        let told = errors(text, &all);
        let told: Vec<_> = told.into_iter().map(|(_, (what, remedy))| format!("{what}. {remedy}")).collect();
        assert!(!told.is_empty(), "{text}");
        told[0].clone()
    }

    #[test]
    fn what_people_usually_write_is_told_as_what_it_is() {
        for (text, wanted) in [
            ("a = 1\nb = 2\na = 3\n", "this key is there twice; the first is in line 1"),
            ("[x]\na = 1\n[y]\na = 1\n[x]\n", "this table is there twice; the first is in line 1"),
            ("p = \"C:\\Users\\x\"\n", "a backslash in double quotes"),
            ("p = \"C:\\secrets\"\n", "a backslash in double quotes"),
            ("host: \"x\"\n", "a colon stands between key and value"),
            ("listen:\n  address: 1\n", "a colon stands between key and value"),
            ("{\n\"a\": 1\n}\n", "this looks like JSON"),
            ("a = \"x\nb = 1\n", "a string has no closing quote"),
            ("a = 'x\n", "a string has no closing quote"),
            ("a = 127.0.0.1:8443\n", "a string has no quotes"),
            ("a = server.pem\n", "a string has no quotes"),
            ("a = tls/server.pem\n", "a string has no quotes"),
            ("a = 5m\n", "a string has no quotes"),
            ("a = \u{201c}x\u{201d}\n", "these quotes are a word processor's"),
            ("a = True\n", "true and false have small letters"),
            ("a =\n", "a key has no value"),
            ("my key = 1\n", "a key has no value"),
            ("[listen\na = 1\n", "the name of a table has no closing bracket"),
            ("a = [\"x\" \"y\"]\n", "a list has no comma"),
            ("a = [1, 2\n", "a list has no comma between two values, or no closing bracket"),
            ("a = { b = 1 c = 2 }\n", "a table in braces has no comma"),
            ("a = 1 b = 2\n", "something follows on the same line"),
            ("<<<<<<< HEAD\n", "this is a mark of a merge conflict"),
            ("a = 007\n", "this is not a number"),
            ("[a.]\n", "a key, or a part of a table's name, is empty"),
        ] {
            let told = first(text);
            assert!(told.starts_with(wanted), "{text:?}: {told}");
        }
    }

    #[test]
    fn no_place_is_within_a_character() {
        let text = "ä = \u{201c}ü\u{201d}\nö: \u{201e}x\n";
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let (_, all) = DeTable::parse_recoverable(&text[..end]);
            let _no_panic = errors(&text[..end], &all);
        }
    }
}
