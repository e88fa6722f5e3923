//! Requests over connections that stay open: as many as go, or a fixed number a second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use casemate_testkit::client::Client;
use casemate_testkit::http::{Request, read_answer};
use casemate_testkit::programs::output;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Through mTLS.
    Gate(Client),
    /// Straight to the server, in plain.
    Direct(SocketAddr),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Target {
    fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Gate(client) => Box::new(client.connect()?),
            Self::Direct(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

/// Sends `count` requests over each of `connections`, one after the other.
pub(crate) fn saturate(
    target: &Target,
    request: &Request,
    connections: usize,
    count: usize,
) -> anyhow::Result<()> {
    each_connection(target, connections, |stream, _| {
        for _ in 0..count {
            exchange(stream, request)?;
        }
        Ok(Vec::new())
    })
    .map(drop)
}

/// Sends `rate` requests a second for `seconds`, spread over `connections`; how long each took, in
/// milliseconds from the moment it should have been sent.
pub(crate) fn at_rate(
    target: &Target,
    request: &Request,
    connections: u32,
    rate: u32,
    seconds: u32,
) -> anyhow::Result<Vec<f64>> {
    let step = Duration::from_secs(1) * connections / rate;
    let count = rate * seconds / connections;
    each_connection(target, usize::try_from(connections)?, |stream, index| {
        let offset = step * u32::try_from(index)? / connections;
        let start = Instant::now() + offset;
        let mut took = Vec::new();
        for turn in 0..count {
            let due = start + step * turn;
            // The bench keeps its own pace; this is no test that waits for something.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            exchange(stream, request)?;
            took.push(due.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(took)
    })
}

fn each_connection(
    target: &Target,
    connections: usize,
    work: impl Fn(&mut dyn Stream, usize) -> anyhow::Result<Vec<f64>> + Sync,
) -> anyhow::Result<Vec<f64>> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(target.connect()?);
    }
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = streams
            .iter_mut()
            .enumerate()
            .map(|(index, stream)| scope.spawn(move || work(stream.as_mut(), index)))
            .collect();
        let mut all = Vec::new();
        for one in running {
            let took = one
                .join()
                .map_err(|_| anyhow::anyhow!("a connection panicked"))??;
            all.extend(took);
        }
        Ok(all)
    })
}

fn exchange(stream: &mut dyn Stream, request: &Request) -> anyhow::Result<()> {
    stream.write_all(&request.bytes("127.0.0.1"))?;
    let mut reader = stream;
    let answer = read_answer(&mut reader, |_| true)?;
    ensure!(
        answer.head.status == 200,
        "answered {}: {}",
        answer.head.status,
        answer.text()
    );
    Ok(())
}

/// Binds all threads of a process to one core.
pub(crate) fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    let arguments = ["-acp", &core.to_string(), &pid.to_string()];
    output(Command::new("taskset").args(arguments)).map(drop)
}
