//! Answers that are read whole: to a login, a renewal, a logout.

use bytes::Bytes;
use http::{Response, header};
use http_body_util::{BodyExt, Limited};

use super::response_body::ResponseBody;
use crate::snowflake::body::gunzip;

/// The largest answer that the gate reads, in bytes. Real ones have a few KB, mostly parameters.
const LARGEST: usize = 4 << 20;

/// An answer that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It broke off, or has more than some megabytes.
    #[error("an answer is incomplete or too large")]
    Incomplete,
    /// Its gzip cannot be read, or becomes too large.
    #[error("an answer has damaged gzip")]
    Gzip,
}

/// Reads an answer to its end. The gate does not ask for gzip, but some middleboxes send it; then the head says that no
/// more.
///
/// # Errors
/// [`NotRead`].
pub async fn whole(response: Response<ResponseBody>) -> Result<(Response<()>, Bytes), NotRead> {
    let (mut head, body) = response.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|_broken| NotRead::Incomplete)?;
    let mut body = body.to_bytes();
    if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        body = gunzip(&body, LARGEST).map_err(|_damaged| NotRead::Gzip)?.into();
        head.headers.remove(header::CONTENT_ENCODING);
    }
    Ok((Response::from_parts(head, ()), body))
}
