//! The body of the fuzz target for request heads, and what must hold for any bytes.

use crate::head::{self, Framing};
use crate::strict::Checker;

/// Feeds `data` to the checker in pieces, and holds it to its promises.
///
/// # Panics
/// When one is broken.
pub fn fuzz_head(data: &[u8]) {
    const MAX: usize = 2048;
    let mut whole = Checker::new(MAX, 16);
    let whole_refusal = whole.take(data);
    let mut pieces = Checker::new(MAX, 16);
    let mut refusal = None;
    for piece in data.chunks(3) {
        refusal = refusal.or(pieces.take(piece));
    }
    // How the bytes were cut into reads changes nothing that hyper sees.
    if whole.is_broken() || pieces.is_broken() {
        // What stood before the break may have been shown already; it is never complete.
        let (one, other) = (whole.ready(), pieces.ready());
        assert!(
            one.starts_with(other) || other.starts_with(one),
            "different bytes are shown"
        );
    } else if whole_refusal.is_none() == refusal.is_none() {
        assert_eq!(
            whole.ready(),
            pieces.ready(),
            "the shown bytes depend on the reads"
        );
    } else {
        // Only a head that is both too long and wrong may be refused for either reason at either time.
        assert!(data.len() > MAX, "the refusal depends on the reads");
    }
    if whole_refusal.is_none() {
        assert!(data.starts_with(whole.ready()), "the checker made bytes up");
    }
    if let Some(end) = head::end(data, 0)
        && let Some(text) = data.get(..end)
        && let Ok(framing) = head::check(text, 16)
    {
        assert!(!text.contains(&0), "a zero byte in a head");
        assert!(text.is_ascii(), "a head beyond ASCII");
        let lower = text.to_ascii_lowercase();
        let has = |name: &[u8]| lower.windows(name.len()).any(|window| window == name);
        let (length, chunked) = (has(b"\ncontent-length:"), has(b"\ntransfer-encoding:"));
        assert!(!(length && chunked), "a length beside chunks");
        assert_eq!(
            framing == Framing::Chunked,
            chunked,
            "chunks are followed when they are there"
        );
    }
}
