//! The words, names, texts and signs of a statement (`docs` "Identifier requirements", "String & binary data types").

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A keyword or a bare name, in capitals.
    Word(String),
    /// `"…"`.
    Quoted(String),
    /// `'…'`.
    Text(String),
    /// Anything else.
    Symbol(char),
}

/// The parts of a statement.
pub(super) fn lexemes(sql: &str) -> Vec<Lexeme> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let mut lexemes = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\'' | '"' => {
                let (text, taken) = quoted(rest, c);
                lexemes.push(if c == '"' { Lexeme::Quoted(text) } else { Lexeme::Text(text) });
                taken
            }
            _ if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                lexemes.push(Lexeme::Word(rest[..end].to_uppercase()));
                end
            }
            _ => {
                lexemes.push(Lexeme::Symbol(c));
                c.len_utf8()
            }
        };
        rest = rest[taken..].trim_start();
    }
    lexemes
}

/// A text in quotes, and its length with them; a doubled quote is one, and in a literal a backslash takes the next
/// character as it is. One that does not end is left to the parser as an odd text.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote == '\'' {
            out.extend(characters.next().map(|(_, c)| c));
        } else if c != quote {
            out.push(c);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            out.push(quote);
        } else {
            return (out, at + 1);
        }
    }
    (out, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_read_as_snowflake_reads_them() {
        let of = |sql| lexemes(sql);
        let text = |text: &str| Lexeme::Text(text.to_owned());
        assert_eq!(
            of("a_1 = 'it''s';"),
            [Lexeme::Word("A_1".into()), Lexeme::Symbol('='), text("it's"), Lexeme::Symbol(';')]
        );
        assert_eq!(of(r"'a\'b' 'open"), [text("a'b"), text("open")]);
        assert_eq!(of(r#""a""b\" ä"#), [Lexeme::Quoted(r#"a"b\"#.into()), Lexeme::Word("Ä".into())]);
    }
}
