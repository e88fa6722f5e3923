//! Reads a request's body, within its bounds in bytes and in time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use casemate_api::gate::Bounds;
use casemate_core::admission::{BodyFault, Refusal};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

/// Reads the whole of `body`.
///
/// # Errors
/// When it is too long, too slow, or breaks off.
pub async fn read(body: Incoming, bounds: &Bounds) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > bounds.body_bytes as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    let total = Duration::from_millis(bounds.body_total_ms);
    timeout(total, collect(body, bounds))
        .await
        .unwrap_or(Err(Refusal::RequestTimeout))
}

async fn collect(mut body: Incoming, bounds: &Bounds) -> Result<Bytes, Refusal> {
    let idle = Duration::from_millis(bounds.body_idle_ms);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(idle, body.frame()).await {
            Err(_) => return Err(Refusal::RequestTimeout),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::BodyMalformed(BodyFault::Framing)),
            Ok(Some(Ok(frame))) => frame,
        };
        // A trailer decides nothing and is not passed on.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > bounds.body_bytes {
            return Err(Refusal::BodyTooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    // A body that came in one piece, as nearly all do, is not copied.
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}
