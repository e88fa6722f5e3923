//! The server behind both gates in the bench: answers every request with the same kilobyte of JSON.
//!
//! Linked statically, since it runs as a stage. It does so little that what is measured in front of
//! it is the gate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(8000);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that breaks is the client's business.
        thread::spawn(move || drop(serve(stream)));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let body = format!(
        "{{\"object\":\"chat.completion\",\"content\":\"{}\"}}",
        "x".repeat(980)
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut held = Vec::new();
    let mut window = [0; 16 << 10];
    loop {
        while let Some(length) = request_length(&held) {
            held.drain(..length);
            stream.write_all(answer.as_bytes())?;
        }
        let read = stream.read(&mut window)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(window.get(..read).unwrap_or_default());
    }
}

/// How many bytes the first request in `held` has, once it is all there.
fn request_length(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(held.get(..head)?).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    (held.len() >= head + length).then_some(head + length)
}
