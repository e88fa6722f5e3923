use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    a: u32,
}

fn pair() -> (Lines<Line>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_sender, lines) = split(ours).unwrap();
    (lines, theirs)
}

#[test]
fn lines_come_one_by_one_and_end_with_the_stream() {
    let (mut lines, mut child) = pair();
    child.write_all(b"{\"a\":1}\n{\"a\":2}\n{\"a\":").unwrap();
    drop(child);
    assert_eq!(lines.next().unwrap(), Some(Line { a: 1 }));
    assert_eq!(lines.next().unwrap(), Some(Line { a: 2 }));
    assert_eq!(lines.next().unwrap(), None);
}

#[test]
fn an_unknown_member_ends_the_stream() {
    let (mut lines, mut child) = pair();
    child.write_all(b"{\"a\":1,\"b\":2}\n").unwrap();
    assert!(matches!(lines.next(), Err(ControlError::Malformed(_))));
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_memory() {
    let (mut lines, mut child) = pair();
    let writer = std::thread::spawn(move || {
        let chunk = vec![b'x'; 64 * 1024];
        while child.write_all(&chunk).is_ok() {}
    });
    assert!(matches!(lines.next(), Err(ControlError::TooLong)));
    drop(lines);
    writer.join().unwrap();
}

#[test]
fn a_child_that_stops_reading_does_not_hold_the_daemon_for_ever() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let sender = Sender {
        stream: Mutex::new(ours),
    };
    let big = "x".repeat(MAX_LINE_BYTES);
    let refused = (0..64).any(|_| sender.send(&big).is_err());
    assert!(refused);
}
