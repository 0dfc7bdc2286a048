//! Answers of the stand-in.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::body::{Made, Source};
use super::state::State;
use crate::base::ids::SessionId;
use crate::snowflake::answer::CONTENT_TYPE;

/// An id in the form of Snowflake's, the same for the same request.
pub(super) fn query_id(request: &str, sql: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{request}\n{sql}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_ref()[..16]);
    SessionId(id).as_uuid()
}

pub(super) fn success(state: &Arc<State>, data: &Value) -> Response<Made> {
    envelope(state, data, None, None)
}

pub(super) fn envelope(state: &Arc<State>, data: &Value, code: Option<&str>, message: Option<&str>) -> Response<Made> {
    let body = json!({ "data": data, "code": code, "message": message, "success": code.is_none(), "headers": null });
    respond(state, 200, Source::Whole(body.to_string().into()))
}

pub(super) fn respond(state: &Arc<State>, status: u16, source: Source) -> Response<Made> {
    let length = match &source {
        Source::Whole(bytes) => Some(bytes.len()),
        Source::Rows { .. } | Source::Empty => None,
    };
    let mut response = Response::new(Made::new(source, state.clone()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert("x-snowflake-session", HeaderValue::from_static("standin-sticky"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

pub(super) async fn zipped(state: &Arc<State>, response: Response<Made>) -> Response<Made> {
    let (head, body) = response.into_parts();
    let plain = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _infallible = encoder.write_all(&plain);
    let body = Bytes::from(encoder.finish().unwrap_or_default());
    let mut response = respond(state, head.status.as_u16(), Source::Whole(body));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}
