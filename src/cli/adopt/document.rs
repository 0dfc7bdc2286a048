//! [`Document`]: a text as a file has it. Exports of the registry and parts of Power BI's files are UTF-16.

/// A text, and how it was spelt in bytes.
pub(super) struct Document {
    pub text: String,
    spelling: Spelling,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Utf8,
    Utf8Marked,
    Utf16Little { marked: bool },
}

const MARK: &[u8] = b"\xef\xbb\xbf";
const MARK_16: &[u8] = b"\xff\xfe";

impl Document {
    /// Reads UTF-8, or UTF-16 as Windows writes it; a byte order mark is kept aside.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (spelling, rest) = if let Some(rest) = bytes.strip_prefix(MARK) {
            (Spelling::Utf8Marked, rest)
        } else if let Some(rest) = bytes.strip_prefix(MARK_16) {
            (Spelling::Utf16Little { marked: true }, rest)
        } else if bytes.len() > 1 && bytes[1] == 0 {
            (Spelling::Utf16Little { marked: false }, bytes)
        } else {
            (Spelling::Utf8, bytes)
        };
        let text = match spelling {
            Spelling::Utf16Little { .. } => {
                let units: Vec<u16> = rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                String::from_utf16(&units).map_err(|_| "it is no UTF-16".to_owned())?
            }
            _ => String::from_utf8(rest.to_owned()).map_err(|_| "it is no UTF-8".to_owned())?,
        };
        Ok(Self { text, spelling })
    }

    /// Another text in the same spelling.
    pub(super) fn spell(&self, text: &str) -> Vec<u8> {
        let wide = || text.encode_utf16().flat_map(u16::to_le_bytes);
        match self.spelling {
            Spelling::Utf8 => text.as_bytes().to_vec(),
            Spelling::Utf8Marked => [MARK, text.as_bytes()].concat(),
            Spelling::Utf16Little { marked: false } => wide().collect(),
            Spelling::Utf16Little { marked: true } => MARK_16.iter().copied().chain(wide()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_back_in_the_spelling_it_came_in() {
        let wide: Vec<u8> = "aé".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in ["aé".as_bytes().to_vec(), [MARK, b"a"].concat(), wide.clone(), [MARK_16, &wide[..]].concat()] {
            let document = Document::read(&bytes).unwrap();
            assert!(document.text.starts_with('a'));
            assert_eq!(document.spell(&document.text), bytes);
        }
        assert!(Document::read(b"\xff\xfe\x00\xd8").is_err() && Document::read(b"\xffab").is_err());
    }
}
