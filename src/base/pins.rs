//! [`Pins`]: the context that a session may have, whatever its client asks for.

use std::sync::Arc;

/// Role, warehouse, database and schema, each free, fixed or one of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// `roleName`.
    pub role: Pin,
    /// `warehouse`.
    pub warehouse: Pin,
    /// `databaseName`.
    pub database: Pin,
    /// `schemaName`.
    pub schema: Pin,
}

/// The allowed values of one place of the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pin {
    /// Any value.
    #[default]
    Free,
    /// Always this value, whatever the client asks for.
    Fixed(Arc<str>),
    /// One of these; the first if the client asks for none. Never empty.
    OneOf(Arc<[String]>),
}

/// One of the four fields of a session's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextField {
    Role,
    Warehouse,
    Database,
    Schema,
}

/// The client asks for a value that is not on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed {
    /// The place.
    pub place: ContextField,
    /// The value.
    pub asked: String,
}

impl ContextField {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Warehouse => "warehouse",
            Self::Database => "database",
            Self::Schema => "schema",
        }
    }
}

impl Pins {
    /// All places, in the order of writing.
    pub fn places(&self) -> [(ContextField, &Pin); 4] {
        [
            (ContextField::Role, &self.role),
            (ContextField::Warehouse, &self.warehouse),
            (ContextField::Database, &self.database),
            (ContextField::Schema, &self.schema),
        ]
    }

    /// Whether every place is free.
    pub fn are_free(&self) -> bool {
        self.places().iter().all(|(_, pin)| **pin == Pin::Free)
    }

    /// Whether a session with this context could be opened now. Of a session of an earlier version nothing is known.
    pub fn would_open(&self, opened: Option<&OpenedContext>) -> bool {
        if self.are_free() {
            return true;
        }
        let Some(opened) = opened else { return false };
        let alone = opened.role_alone || self.role == Pin::Free;
        alone && self.places().iter().zip(&opened.places).all(|((_, pin), value)| pin.allows(value))
    }

    /// These pins, and for free places those of `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let or = |ours: &Pin, theirs: &Pin| if *ours == Pin::Free { theirs.clone() } else { ours.clone() };
        Self {
            role: or(&self.role, &other.role),
            warehouse: or(&self.warehouse, &other.warehouse),
            database: or(&self.database, &other.database),
            schema: or(&self.schema, &other.schema),
        }
    }
}

impl Pin {
    /// The one value to use in place of all the requested ones, as the configuration spells it; `None` leaves them
    /// unchanged.
    ///
    /// # Errors
    /// The requested value that is not on the list.
    pub fn settle<'a>(&'a self, asked: &[String]) -> Result<Option<&'a str>, String> {
        match self {
            Self::Free => Ok(None),
            Self::Fixed(value) => Ok(Some(value)),
            Self::OneOf(list) => {
                let mut settled = None;
                for asked in asked.iter().filter(|asked| !asked.is_empty()) {
                    let one = list.iter().find(|one| same(one, asked)).ok_or_else(|| asked.clone())?;
                    settled = settled.or(Some(one));
                }
                Ok(settled.or(list.first()).map(String::as_str))
            }
        }
    }
}

impl Pin {
    /// Whether a session that was opened with this value could be opened now.
    fn allows(&self, opened: &str) -> bool {
        match self {
            Self::Free => true,
            Self::Fixed(value) => same(value, opened),
            Self::OneOf(list) => list.iter().any(|one| same(one, opened)),
        }
    }
}

/// The context that a session was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedContext {
    /// The values that the gate sent, in the order of [`Pins::places`]; empty where it sent none.
    pub places: [Box<str>; 4],
    /// Whether the session has its role alone, without the user's other roles.
    pub role_alone: bool,
}

impl OpenedContext {
    /// The context of a login with these pins, which asks for this.
    pub fn new(pins: &Pins, asked: &[String]) -> Self {
        let place = |number: usize| asked.get(number).map_or("", String::as_str).into();
        Self { places: [place(0), place(1), place(2), place(3)], role_alone: pins.role != Pin::Free }
    }
}

/// Whether two names are the same to Snowflake: unquoted names are case-insensitive, quoted ones are exact.
fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let resolved = |name: &str| match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => name.to_uppercase(),
    };
    resolved(one) == resolved(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lets_its_names_through_and_puts_the_first_where_none_was_asked_for() {
        let list = Pin::OneOf(["BI".to_owned(), "\"Mixed\"".to_owned()].into());
        let settle = |asked: &[&str]| list.settle(&asked.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(settle(&[]), Ok(Some("BI")));
        assert_eq!(settle(&[""]), Ok(Some("BI")));
        assert_eq!(settle(&["bi"]), Ok(Some("BI")), "as the list spells it");
        assert_eq!(settle(&["\"BI\""]), Ok(Some("BI")), "unquoted names are capitals");
        assert_eq!(settle(&["", "\"Mixed\""]), Ok(Some("\"Mixed\"")));
        assert_eq!(settle(&["bi", "", "\"Mixed\""]), Ok(Some("BI")), "one of several");
        assert_eq!(settle(&["Mixed"]), Err("Mixed".to_owned()));
        assert_eq!(settle(&["BI", "ADMIN"]), Err("ADMIN".to_owned()), "each of several");
        assert_eq!(Pin::Fixed("X".into()).settle(&["ADMIN".to_owned()]), Ok(Some("X")));
        assert_eq!(Pin::Free.settle(&["ADMIN".to_owned()]), Ok(None));
    }

    #[test]
    fn a_session_lives_as_long_as_it_could_be_opened() {
        let list = |names: &[&str]| Pin::OneOf(names.iter().map(|name| (*name).to_owned()).collect());
        let roles = |names: &[&str]| Pins { role: list(names), ..Pins::default() };
        let opened = |role: &str, role_alone| {
            let places = [role.into(), "".into(), "".into(), "".into()];
            Some(OpenedContext { places, role_alone })
        };
        let admin = opened("ADMIN", true);
        assert!(roles(&["BI", "admin"]).would_open(admin.as_ref()));
        assert!(!roles(&["BI"]).would_open(admin.as_ref()));
        assert!(Pins::default().would_open(admin.as_ref()) && Pins::default().would_open(None));
        assert!(!roles(&["ADMIN"]).would_open(opened("ADMIN", false).as_ref()), "it has the user's other roles");
        assert!(!roles(&["ADMIN"]).would_open(opened("", true).as_ref()), "the user's own role, whichever that is");
        assert!(!roles(&["ADMIN"]).would_open(None));
        let fixed = Pins { warehouse: Pin::Fixed("WH".into()), ..Pins::default() };
        assert!(!fixed.would_open(admin.as_ref()));
        let asked = ["R".to_owned(), "wh".to_owned()];
        assert!(fixed.would_open(Some(&OpenedContext::new(&fixed, &asked))));
    }

    #[test]
    fn a_client_s_pins_go_before_its_credential_s() {
        let fixed = |value: &str| Pins { role: Pin::Fixed(value.into()), ..Pins::default() };
        assert_eq!(fixed("A").or(&fixed("B")), fixed("A"));
        assert_eq!(Pins::default().or(&fixed("B")), fixed("B"));
        assert!(Pins::default().are_free() && !fixed("A").are_free());
    }
}
