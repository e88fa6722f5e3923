//! Tries one thing that a stage must not be able to do, and says how it ended.
//!
//! `attempt WHAT [ARGUMENT]` prints `worked` or `stopped: REASON`, and always exits with 0: how the
//! attempt ended is data, not a failure. It shares no code with the prober, so that the claims and the
//! prober cannot be wrong in the same way.
#![expect(clippy::print_stdout, reason = "its one line is its result")]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::net::netlink::KOBJECT_UEVENT;
use rustix::net::{AddressFamily, Protocol, SocketType, socket};

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let argument = words.next().unwrap_or_default();
    match attempt(&what, &argument) {
        Ok(()) => println!("worked"),
        Err(error) => println!("stopped: {error}"),
    }
}

fn attempt(what: &str, argument: &str) -> io::Result<()> {
    match what {
        // Something harmless, to see that attempts can work at all.
        "nothing" => Ok(()),
        "udp" => UdpSocket::bind("127.0.0.1:0")?
            .send_to(b"out", argument)
            .map(drop),
        "packet-socket" => open(AddressFamily::PACKET, SocketType::DGRAM, None),
        "vsock" => open(AddressFamily::VSOCK, SocketType::STREAM, None),
        "alg-socket" => open(AddressFamily::from_raw(38), SocketType::SEQPACKET, None),
        "uevent-socket" => open(
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(KOBJECT_UEVENT),
        ),
        "raw-socket" => open(
            AddressFamily::INET,
            SocketType::RAW,
            Some(rustix::net::ipproto::ICMP),
        ),
        "mount" => Ok(mount("none", "/tmp", "tmpfs", MountFlags::empty(), None)?),
        "user-namespace" => user_namespace(),
        "execute" => execute(argument),
        "bind" => TcpListener::bind(("127.0.0.1", port(argument)?)).map(drop),
        "connect" => connect(port(argument)?),
        "read" => read(argument),
        "threads" => threads(argument),
        "memory" => memory(argument),
        _ => Err(io::Error::other(format!(
            "nobody knows how to attempt `{what}`"
        ))),
    }
}

fn open(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> io::Result<()> {
    socket(family, kind, protocol)?;
    Ok(())
}

/// `unshare`, from util-linux's point of view: a namespace in which one is root.
fn user_namespace() -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for a reason that one thread does not have"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER)?;
    Ok(())
}

/// Brings a program into a writable directory and runs it.
fn execute(directory: &str) -> io::Result<()> {
    let copy = format!("{directory}/brought-in");
    fs::write(&copy, fs::read("/attempt").map_err(at("read itself"))?).map_err(at("write"))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).map_err(at("chmod"))?;
    let output = Command::new(&copy)
        .arg("nothing")
        .output()
        .map_err(at("execute"))?;
    if output.stdout.starts_with(b"worked") {
        Ok(())
    } else {
        Err(io::Error::other("it ran and said nothing"))
    }
}

/// Counts as worked when the kernel looked for a listener at all.
fn connect(port: u16) -> io::Result<()> {
    match TcpStream::connect(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

fn read(path: &str) -> io::Result<()> {
    if fs::read(path)?.is_empty() {
        return Err(io::Error::other("it reads as empty"));
    }
    Ok(())
}

fn threads(count: &str) -> io::Result<()> {
    let count: u32 = count.parse().map_err(io::Error::other)?;
    for _ in 0..count {
        thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(|| thread::sleep(Duration::from_secs(60)))?;
    }
    Ok(())
}

fn memory(mebibytes: &str) -> io::Result<()> {
    let mebibytes: usize = mebibytes.parse().map_err(io::Error::other)?;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mebibytes {
        // Written to, so that the kernel has to give the pages.
        taken.push(vec![1; 1 << 20]);
    }
    std::hint::black_box(&taken);
    Ok(())
}

/// Names the step, so that a test does not take a failed preparation for a wall.
fn at(step: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("{step}: {error}"))
}

fn port(text: &str) -> io::Result<u16> {
    text.parse().map_err(io::Error::other)
}
