//! [`Members`]: a JSON object as it was written, one level deep.
//!
//! Values stay the text they were, so that a 64-bit `sessionId`, a `1e400` or an unknown member survive to the byte. Only
//! the members that are touched by name change.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object, in order, repetitions included.
pub struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// How deep a login or its answer may be nested. Drivers use three levels; JDBC's session parameters may add some.
const MAX_DEPTH: usize = 32;

/// Why a text is not the object we look for. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMembers {
    /// Not JSON, or not an object.
    #[error("it is not a JSON object")]
    Syntax,
    /// Nested deeper than any driver's message.
    #[error("it is nested too deeply")]
    Depth,
}

impl<'a> Members<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// [`NotMembers`], which says why without quoting the text.
    pub fn parse(text: &'a str) -> Result<Self, NotMembers> {
        if deeper_than(text, MAX_DEPTH) {
            return Err(NotMembers::Depth);
        }
        serde_json::from_str(text).map_err(|_| NotMembers::Syntax)
    }

    /// The text of a member's value; the first one where a name stands twice.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The texts of all members of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// A member that is a string; `None` where it is missing, null or of another type.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        string(self.raw(name)?)
    }

    /// The text of a member's value as it stands in the source, for as long as the source lives; `None` once it was set.
    pub fn source(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Cow::Borrowed(text) => Some(*text),
            Cow::Owned(_) => None,
        })
    }

    /// Whether a member is there and is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.raw(name) == Some("true")
    }

    /// A member that is an object.
    pub fn object(&self, name: &str) -> Option<Members<'_>> {
        Members::parse(self.raw(name)?).ok()
    }

    /// Takes out every member of that name; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(key, _)| key != name);
        self.0.len() != before
    }

    /// Sets a member to a JSON text: in its old place, or at the end.
    pub fn set_raw(&mut self, name: &'static str, value: String) {
        let at = self.0.iter().position(|(key, _)| key == name);
        self.remove(name);
        let at = at.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(at, (Cow::Borrowed(name), Cow::Owned(value)));
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, name: &'static str, value: &str) {
        self.set_raw(name, quoted(value));
    }

    /// Writes the object out again.
    pub fn write(&self) -> String {
        let size: usize = self.0.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut text = String::with_capacity(size + 2);
        text.push('{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            push_quoted(&mut text, key);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

/// A JSON string's content; `None` for anything else.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        None => None,
    }
}

/// A JSON string of that content.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                out.push(if u32::from(c) < 0x10 { '0' } else { '1' });
                out.extend(char::from_digit(u32::from(c) & 15, 16));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether brackets outside of strings nest deeper than `max`.
fn deeper_than(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(24);
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key.0, Cow::Borrowed(value.get())));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A member's name: borrowed where it holds no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_to_the_byte() {
        let text = r#"{"a":1e400,"b": { "x" : [1,2 , 3] },"n\u0061me":"\u00e9\/","c":18446744073709551616,"a":null}"#;
        let mut members = Members::parse(text).unwrap();
        assert_eq!(members.all("a").collect::<Vec<_>>(), ["1e400", "null"]);
        assert_eq!(members.text("name").unwrap(), "é/");
        members.set_text("b", "q\"\\\n");
        assert!(members.remove("a") && !members.remove("a"));
        assert_eq!(members.write(), r#"{"b":"q\"\\\u000a","name":"\u00e9\/","c":18446744073709551616}"#);
    }

    #[test]
    fn depth_and_syntax_are_told_apart_and_quote_nothing() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Members::parse(&deep).err(), Some(NotMembers::Depth));
        for bad in ["", "[]", "{", "{\"a\":}", "nul", "{\"a\":1}x", "\u{feff}{}"] {
            assert_eq!(Members::parse(bad).err(), Some(NotMembers::Syntax), "{bad}");
        }
        assert!(Members::parse("{\"a\":\"[[[[{{{{\\\"[[[\"}").is_ok());
    }
}
