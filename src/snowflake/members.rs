//! [`Members`]: the members of a JSON object, one level deep. [`Envelope`]: the same, with the members of `data` too.
//!
//! Values keep their text, so that a 64-bit `sessionId`, a `1e400` or an unknown member keeps every byte. Only members
//! that the gate sets by name change.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object, in order, repetitions included.
pub struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// How deep a login may be nested. Drivers use three levels; JDBC's session parameters may add some.
const MAX_DEPTH: usize = 32;

/// The text is not JSON, or not an object. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JSON object")]
pub struct NotMembers;

/// Protocol messages have their content in a member `data`; both are read in one pass.
pub struct Envelope<'a> {
    /// The members beside `data`; `data` itself keeps its place among them, without a value.
    pub outer: Members<'a>,
    /// The members of `data`; `None` when it is missing, no object, or there twice.
    pub data: Option<Members<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`NotMembers`].
    pub fn parse(text: &'a str) -> Result<Self, NotMembers> {
        serde_json::from_str(text).map_err(|_| NotMembers)
    }

    /// Writes the message out again.
    pub fn write(mut self) -> String {
        self.outer.set_raw("data", self.data.map_or_else(|| "null".to_owned(), |data| data.write()));
        self.outer.write()
    }
}

impl<'a> Members<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// [`NotMembers`].
    pub fn parse(text: &'a str) -> Result<Self, NotMembers> {
        serde_json::from_str(text).map_err(|_| NotMembers)
    }

    /// The members with the texts of their values, in order, repetitions included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The text of a member's value; the first one where a name stands twice.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The texts of all members of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// A member that is a string; `None` if it is missing, null or of another type.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        string(self.raw(name)?)
    }

    /// Whether a member is there and is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.raw(name) == Some("true")
    }

    /// A member that is an object.
    pub fn object(&self, name: &str) -> Option<Members<'_>> {
        Members::parse(self.raw(name)?).ok()
    }

    /// Removes every member of that name; returns whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(key, _)| key != name);
        self.0.len() != before
    }

    /// The texts of all members of that name, however its letters are written. Some readers do not tell them apart.
    pub fn all_like(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Removes every member of that name, however its letters are written; returns whether there was one.
    pub fn remove_like(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.0.len() != before
    }

    /// Makes one member of that name of all of them, however their letters are written: in the place of the first, or
    /// at the end.
    pub fn put_text(&mut self, name: &'static str, value: &str) {
        self.put_raw(name, quoted(value));
    }

    /// The same with a JSON text.
    pub fn put_raw(&mut self, name: &'static str, value: String) {
        let at = self.0.iter().position(|(key, _)| key.eq_ignore_ascii_case(name));
        self.remove_like(name);
        let at = at.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(at, (Cow::Borrowed(name), Cow::Owned(value)));
    }

    /// Sets a member to a JSON text: in its old place, or at the end.
    pub fn set_raw(&mut self, name: &'a str, value: String) {
        let at = self.0.iter().position(|(key, _)| key == name);
        self.remove(name);
        let at = at.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(at, (Cow::Borrowed(name), Cow::Owned(value)));
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, name: &'a str, value: &str) {
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

/// Whether brackets outside of strings nest deeper than in any driver's message. The gate does not recurse into skipped
/// values, but the next reader may.
pub fn too_deep(text: &str) -> bool {
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
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads the members of an object.
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

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Message;
        impl<'de> Visitor<'de> for Message {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut outer, mut data, mut times) = (Vec::with_capacity(8), None, 0);
                while let Some(Key(key)) = map.next_key()? {
                    if key == "data" {
                        times += 1;
                        data = map.next_value::<Data<'de>>()?.0;
                        outer.push((key, Cow::Borrowed("null")));
                    } else {
                        outer.push((key, Cow::Borrowed(map.next_value::<&'de RawValue>()?.get())));
                    }
                }
                Ok(Envelope { outer: Members(outer), data: data.filter(|_| times == 1) })
            }
        }
        deserializer.deserialize_map(Message)
    }
}

/// The value of `data`: its members, or nothing if it is not an object.
struct Data<'a>(Option<Members<'a>>);

impl<'de> Deserialize<'de> for Data<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Object.visit_map(map).map(|members| Data(Some(members)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Data(None))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Data(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Data(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Data(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Data(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Data(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Data(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A member's name, borrowed if it has no escape.
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
    fn what_is_no_object_and_what_is_too_deep_is_found() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(too_deep(&deep) && !too_deep("{\"a\":\"[[[[{{{{\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"));
        for bad in ["", "[]", "{", "{\"a\":}", "nul", "{\"a\":1}x", "\u{feff}{}"] {
            assert_eq!(Members::parse(bad).err(), Some(NotMembers), "{bad}");
            assert!(Envelope::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_envelope_opens_data_and_keeps_its_place() {
        let text = r#"{"a":1,"data":{"x":[1, 2],"y":null},"success":true}"#;
        let mut message = Envelope::parse(text).unwrap();
        assert!(message.outer.is_true("success"));
        message.data.as_mut().unwrap().set_text("x", "z");
        assert_eq!(message.write(), r#"{"a":1,"data":{"x":"z","y":null},"success":true}"#);
        for none in ["null", "1", "-1", "1.5", "\"x\"", "[1,[2]]", "true"] {
            assert!(Envelope::parse(&format!("{{\"data\":{none}}}")).unwrap().data.is_none(), "{none}");
        }
        assert!(Envelope::parse("{}").unwrap().data.is_none());
        assert!(Envelope::parse(r#"{"data":{},"data":{}}"#).unwrap().data.is_none());
    }
}
