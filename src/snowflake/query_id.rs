//! Snowflake's id of a statement, from the edges of an answer: `data.queryId` stands before the rows or after them
//! (`go:query.go`, `py:cursor.py`). Nothing else of an answer is looked at, and nothing is buffered for it.

use std::io::Read;

use flate2::read::GzDecoder;

/// How many bytes of each edge are looked at.
pub const EDGE: usize = 4 << 10;
/// How many bytes the beginning of a compressed answer may have when it is inflated.
const INFLATED: u64 = 64 << 10;
const MEMBER: &[u8] = b"\"queryId\"";

/// The first and the last bytes of an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Edges {
    /// The first.
    pub first: Vec<u8>,
    /// The last; of a compressed answer they are of no use.
    pub last: Vec<u8>,
    /// Whether the answer is compressed by gzip.
    pub gzip: bool,
}

/// The id, if one of the edges has it.
pub fn find(edges: &Edges) -> Option<String> {
    if !edges.gzip {
        return within(&edges.first).or_else(|| within(&edges.last));
    }
    let mut text = Vec::new();
    // Only its beginning is there, so that the end of the stream is always missing.
    let _cut_off = GzDecoder::new(&*edges.first).take(INFLATED).read_to_end(&mut text);
    within(&text)
}

/// The id that is in the path of a request about a statement.
pub fn in_path(path: &str) -> Option<String> {
    path.split('/').find(|part| is_id(part.as_bytes())).map(str::to_owned)
}

/// The id that the driver gave the request, from the query of its target.
pub fn of_request(query: &str) -> Option<String> {
    let id = query.split('&').find_map(|pair| pair.strip_prefix("requestId="))?;
    is_id(id.as_bytes()).then(|| id.to_owned())
}

fn within(text: &[u8]) -> Option<String> {
    let at = text.windows(MEMBER.len()).rposition(|part| part == MEMBER)? + MEMBER.len();
    let rest = text[at..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let id = rest.get(..36).filter(|id| is_id(id))?;
    String::from_utf8(id.to_vec()).ok()
}

/// Whether it has the form of a UUID.
fn is_id(text: &[u8]) -> bool {
    let dash = |at: usize| [8, 13, 18, 23].contains(&at);
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| if dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ID: &str = "01b2c3d4-0000-1a2b-0000-00012345abcd";

    #[test]
    fn the_id_is_found_at_both_ends_and_in_a_compressed_beginning() {
        let plain = |first: &str, last: &str| Edges { first: first.into(), last: last.into(), gzip: false };
        let with = format!("{{\"data\":{{\"queryId\" : \"{ID}\",\"x\":1");
        assert_eq!(find(&plain(&with, "")).as_deref(), Some(ID));
        assert_eq!(find(&plain("{\"data\":", &format!("\"queryId\":\"{ID}\"}}}}"))).as_deref(), Some(ID));
        assert_eq!(find(&plain("\"queryId\":null", "\"queryId\":\"no\"")), None);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(format!("{with}{}", "y".repeat(100_000)).as_bytes()).unwrap();
        let mut first = packed.finish().unwrap();
        first.truncate(300);
        assert_eq!(find(&Edges { first, last: Vec::new(), gzip: true }).as_deref(), Some(ID));
        assert_eq!(find(&Edges { first: b"junk".to_vec(), last: Vec::new(), gzip: true }), None);
        assert_eq!(in_path(&format!("/queries/{ID}/result")).as_deref(), Some(ID));
        assert_eq!(in_path("/queries/v1/query-request"), None);
        assert_eq!(of_request(&format!("a=1&requestId={ID}")).as_deref(), Some(ID));
        assert_eq!(of_request("requestId=x"), None);
    }
}
