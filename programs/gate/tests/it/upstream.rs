//! A server behind the gate that does what a test says, and remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers with these bytes.
    Answer(Vec<u8>),
    /// Streams this many chunks, one every so often, then ends.
    Stream { chunks: usize, every: Duration },
    /// Takes the request and never answers.
    Silent,
    /// Passes the request on to another address, with its handle, and the answer back.
    Relay(SocketAddr),
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The requests, as they came.
    pub(crate) requests: Vec<String>,
    /// When a peer was gone in the middle of an answer.
    pub(crate) gone: Option<Instant>,
    /// When the last chunk was sent.
    pub(crate) sent: Option<Instant>,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    log: Arc<Mutex<Log>>,
}

pub(crate) fn json(body: &str) -> Behaviour {
    answer("200 OK", "application/json", body)
}

pub(crate) fn answer(status: &str, media: &str, body: &str) -> Behaviour {
    let length = body.len();
    Behaviour::Answer(
        format!(
            "HTTP/1.1 {status}\r\nServer: secret/1.0\r\nX-Internal: 10.0.0.1\r\nContent-Type: {media}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let door = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = door.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(json(r#"{"ok":true}"#)));
        let log = Arc::new(Mutex::new(Log::default()));
        let (shared, noted) = (Arc::clone(&behaviour), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in door.incoming().map_while(Result::ok) {
                let (shared, noted) = (Arc::clone(&shared), Arc::clone(&noted));
                std::thread::spawn(move || serve(stream, &shared, &noted));
            }
        });
        Self {
            address,
            behaviour,
            log,
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

fn serve(mut stream: TcpStream, behaviour: &Mutex<Behaviour>, log: &Mutex<Log>) {
    stream.set_nodelay(true).unwrap();
    let mut held = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut held) {
        log.lock().unwrap().requests.push(request.clone());
        let now = if request.starts_with("GET /health ") {
            json("{}")
        } else {
            behaviour.lock().unwrap().clone()
        };
        match now {
            Behaviour::Answer(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Behaviour::Stream { chunks, every } => {
                if !send_stream(&mut stream, chunks, every, log) {
                    return;
                }
            }
            Behaviour::Silent => {
                note_end(&mut stream, log);
                return;
            }
            Behaviour::Relay(to) => {
                relay(&mut stream, &request, to);
                return;
            }
        }
    }
}

fn read_request(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(held).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0_usize);
            if held.len() >= end + 4 + length {
                let request = held.drain(..end + 4 + length).collect();
                return String::from_utf8(request).ok();
            }
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        held.extend_from_slice(&buffer[..count]);
    }
}

fn send_stream(stream: &mut TcpStream, chunks: usize, every: Duration, log: &Mutex<Log>) -> bool {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    if stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    for number in 0..chunks {
        let data = format!("data: {{\"n\":{number}}}\n\n");
        let chunk = format!("{:x}\r\n{data}\r\n", data.len());
        log.lock().unwrap().sent = Some(Instant::now());
        if stream.write_all(chunk.as_bytes()).is_err() || peer_gone(stream, every) {
            log.lock().unwrap().gone = Some(Instant::now());
            return false;
        }
    }
    stream.write_all(b"0\r\n\r\n").is_ok()
}

/// Waits so long, and says whether the peer closed meanwhile.
fn peer_gone(stream: &mut TcpStream, wait: Duration) -> bool {
    if wait.is_zero() {
        return false;
    }
    stream.set_read_timeout(Some(wait)).unwrap();
    let mut one = [0];
    match stream.read(&mut one) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}

fn note_end(stream: &mut TcpStream, log: &Mutex<Log>) {
    while !peer_gone(stream, Duration::from_secs(5)) {}
    log.lock().unwrap().gone = Some(Instant::now());
}

fn relay(stream: &mut TcpStream, request: &str, to: SocketAddr) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let handle = head
        .lines()
        .find(|line| line.starts_with("casemate-transaction: "));
    let path = head.split(' ').nth(1).unwrap();
    let mut onward = TcpStream::connect(to).unwrap();
    let handle = handle.map(|line| format!("{line}\r\n")).unwrap_or_default();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: infer\r\nContent-Type: application/json\r\n{handle}\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    onward.write_all(request.as_bytes()).unwrap();
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = onward.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
