use proptest::prelude::*;

use super::*;
use crate::fuzz::fuzz_head;
use crate::strict::Checker;

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: gate\r\n\r\n";

#[test]
fn a_head_is_complete_at_its_empty_line_however_it_was_cut() {
    for cut in 0..GET.len() {
        assert_eq!(end(GET.get(..cut).unwrap(), 0), None);
        assert_eq!(end(GET, cut.saturating_sub(1)), Some(GET.len()));
    }
}

#[test]
fn framing_is_what_the_head_says_once() {
    assert_eq!(check(GET, 8), Ok(Framing::Length(0)));
    let length = b"POST /x HTTP/1.1\r\nHost: gate\r\nContent-Length: 12\r\n\r\n";
    assert_eq!(check(length, 8), Ok(Framing::Length(12)));
    let chunked = b"POST /x HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(check(chunked, 8), Ok(Framing::Chunked));
    assert_eq!(check(GET, 0), Err(Refusal::HeadersTooLarge));
}

#[test]
fn chunks_end_where_they_end_however_they_were_cut() {
    let body = b"5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nnext";
    for cut in 0..body.len() - 4 {
        let mut chunks = Chunks::default();
        let (first, second) = body.split_at(cut);
        assert_eq!(chunks.follow(first), Ok(None));
        assert_eq!(chunks.follow(second), Ok(Some(body.len() - 4 - cut)));
    }
}

#[test]
fn pipelined_requests_are_shown_up_to_the_refused_one() {
    let mut checker = Checker::new(1024, 8);
    let wrong = b"GET /b HTTP/1.1\nHost: gate\r\n\r\n";
    let refusal = checker.take(&[GET, wrong, GET].concat());
    assert!(matches!(refusal, Some(Refusal::RequestMalformed(_))));
    assert!(checker.ready().starts_with(GET));
    assert!(
        checker
            .ready()
            .ends_with(b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n")
    );
    assert_eq!(checker.take(GET), None, "nothing after it is shown");
    assert!(!checker.ready().ends_with(GET));
}

proptest! {
    #[test]
    fn any_bytes_hold_to_the_promises(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_head(&data);
    }

    #[test]
    fn mutated_requests_hold_to_the_promises(
        edits in prop::collection::vec((0_usize..160, prop::sample::select(b"\r\n :\0aG/0,;\x80".to_vec())), 0..6),
    ) {
        let mut data = b"POST /x HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_vec();
        for (at, byte) in edits {
            if at % 2 == 0 && at < data.len() {
                data[at] = byte;
            } else {
                data.insert(at.min(data.len()), byte);
            }
        }
        fuzz_head(&data);
    }
}
