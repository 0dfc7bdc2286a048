//! [`LoginName`]: which user names a client's tools may type.

/// A user name, or all that begin with what stands before a `*`; compared without case, as Snowflake compares names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginName {
    /// In capitals.
    start: String,
    open: bool,
}

impl LoginName {
    /// Reads `NAME` or `START*`; `None` if a `*` stands elsewhere, or nothing stands there.
    pub fn parse(text: &str) -> Option<Self> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let fits = !start.contains('*') && (open || !start.is_empty());
        fits.then(|| Self { start: start.to_uppercase(), open })
    }

    /// Whether a typed name is one of these.
    pub fn is(&self, typed: &str) -> bool {
        let typed = typed.to_uppercase();
        if self.open { typed.starts_with(&self.start) } else { typed == self.start }
    }

    /// Whether a name can be one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.open, other.open) {
            (false, false) => self.start == other.start,
            (true, false) => other.start.starts_with(&self.start),
            (false, true) => self.start.starts_with(&other.start),
            (true, true) => self.start.starts_with(&other.start) || other.start.starts_with(&self.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LoginName {
        LoginName::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_compared_without_case_and_a_star_stands_for_any_end() {
        assert!(name("Reports_*").is("REPORTS_SALES") && name("reports_*").is("reports_"));
        assert!(name("größe").is("GRÖSSE") && name("*").is("") && !name("A").is("AB"));
        assert!(["", "a*b", "**", "*a"].into_iter().all(|text| LoginName::parse(text).is_none()));
    }

    #[test]
    fn names_overlap_where_one_could_be_both() {
        for (one, other, both) in [
            ("A", "a", true),
            ("A", "B", false),
            ("A*", "ab", true),
            ("A*", "B*", false),
            ("A*", "AB*", true),
            ("*", "x", true),
            ("AB", "A", false),
        ] {
            assert_eq!(
                (name(one).overlaps(&name(other)), name(other).overlaps(&name(one))),
                (both, both),
                "{one} {other}"
            );
        }
    }
}
