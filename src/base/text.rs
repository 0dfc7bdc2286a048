//! [`capped`]: a limit for texts from the wire, so that nobody fills the log with one request.

/// A text without what editors and shells leave around it: blanks, line ends, and a byte order mark.
pub fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// The start of a text, up to a number of bytes, at the border of a character.
pub fn capped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The same for a text that is owned; it says that it was cut.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(" (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_characters_whole() {
        assert_eq!((capped("aé", 2), capped("aé", 3), capped("", 9)), ("a", "aé", ""));
        assert_eq!((cut("aéz".to_owned(), 2), cut("aé".to_owned(), 3)), ("a (cut)".to_owned(), "aé".to_owned()));
    }
}
