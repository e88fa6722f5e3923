//! A model server that behaves as well or as badly as a test wants: `stand-in PORT BEHAVIOUR`.
//!
//! It is linked statically and runs as a stage, in place of a real server, where a test needs one
//! that never answers, answers for ever, or turns on its host. Well behaved, it answers every
//! request with the same kilobyte of JSON, and does so little that what the bench measures in front
//! of it is the gate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What it does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Answers: in one piece, or in twenty when the request asks for a stream.
    Answer,
    /// Reads and says nothing.
    Silent,
    /// Streams without end.
    Endless,
    /// Fails, and says more about itself than it should.
    Fail,
    /// Starts threads until it may not, and keeps them.
    Fork,
    /// Takes memory until it may not.
    Eat,
    /// Ends.
    Die,
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let port = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(8000);
    let behaviour = match words.next().as_deref() {
        Some("silent") => Behaviour::Silent,
        Some("endless") => Behaviour::Endless,
        Some("fail") => Behaviour::Fail,
        Some("fork") => Behaviour::Fork,
        Some("eat") => Behaviour::Eat,
        Some("die") => Behaviour::Die,
        Some(_) | None => Behaviour::Answer,
    };
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that breaks is the client's business.
        thread::spawn(move || drop(serve(stream, behaviour)));
    }
    Ok(())
}

fn serve(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    let mut window = [0; 16 << 10];
    loop {
        while let Some(length) = request_length(&held) {
            let request: Vec<u8> = held.drain(..length).collect();
            respond(&mut stream, &request, behaviour)?;
        }
        let read = stream.read(&mut window)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(window.get(..read).unwrap_or_default());
    }
}

fn respond(stream: &mut TcpStream, request: &[u8], behaviour: Behaviour) -> std::io::Result<()> {
    let asks = request.starts_with(b"POST ");
    match behaviour {
        Behaviour::Answer if contains(request, b"\"stream\":true") => {
            begin_stream(stream)?;
            for index in 0..20 {
                event(stream, &format!("word{index} "))?;
                thread::sleep(Duration::from_millis(20));
            }
            chunk(stream, "data: [DONE]\n\n")?;
            stream.write_all(b"0\r\n\r\n")
        }
        Behaviour::Silent if asks => {
            thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        Behaviour::Endless if asks => {
            begin_stream(stream)?;
            loop {
                event(stream, "more ")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Behaviour::Fail if asks => {
            let body = "Traceback: /opt/secret/server.py line 1: key=hunter2";
            write!(
                stream,
                "HTTP/1.1 500 Internal Server Error\r\nserver: secret/1.0\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        Behaviour::Fork if asks => {
            let mut started = 0;
            let sleep = || thread::sleep(Duration::from_secs(3600));
            while started < 100_000 && thread::Builder::new().spawn(sleep).is_ok() {
                started += 1;
            }
            answer(stream)
        }
        Behaviour::Eat if asks => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                // Written to, so that the kernel has to give the pages.
                taken.push(vec![1; 16 << 20]);
                std::hint::black_box(&taken);
            }
        }
        Behaviour::Die if asks => std::process::abort(),
        Behaviour::Answer
        | Behaviour::Silent
        | Behaviour::Endless
        | Behaviour::Fail
        | Behaviour::Fork
        | Behaviour::Eat
        | Behaviour::Die => answer(stream),
    }
}

fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let body = format!(
        "{{\"object\":\"chat.completion\",\"content\":\"{}\"}}",
        "x".repeat(980)
    );
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes())
}

fn begin_stream(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

fn event(stream: &mut TcpStream, word: &str) -> std::io::Result<()> {
    chunk(
        stream,
        &format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n"),
    )
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
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

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}
