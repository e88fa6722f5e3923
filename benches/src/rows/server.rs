//! The same llama.cpp server, sealed and plain: from its start to the first token of an answer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use casemate_testkit::http::{Request, send_plain};
use casemate_testkit::identity_provider::free_address;
use casemate_testkit::programs::checkout;
use casemate_testkit::{Chat, IdentityProvider, Node, Person, Tools, wait_for};

use crate::measure::{alternate, median, seconds};
use crate::report::Line;

/// From the server's own start to its first token; and, told beside it, from `casemate up`.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let tools = Tools::locate();
    let provider = IdentityProvider::start(&tools)?;
    let node = Node::start()?;
    let chat = Chat::prepare(&node, &tools, &provider)?;
    let plain = Plain::prepare(&node, &tools)?;
    let mut whole = Vec::new();
    let mut token = (Vec::new(), Vec::new());
    let (ours, theirs) = alternate(
        3,
        || {
            let up = up(&node, &chat)?;
            let person = Person::log_in(&node, &provider, "bench", &["analysts"])?;
            let ticket = person.ticket(&node, "redact", &[])?;
            let redact = casemate_testkit::person::stage_id("redact");
            let client = person.client(&node, chat.gate(), &redact)?;
            let request = question().with("authorization", &format!("Bearer {ticket}"));
            let first = seconds(|| {
                let answer = client.stream(&request, |piece| !has_token(piece))?;
                ensure!(answer.head.status == 200, "{}", answer.text());
                Ok(())
            })?;
            token.0.push(first);
            whole.push(up.whole + first);
            node.run_casemate(&["down", "chat"])?;
            Ok(up.server + first)
        },
        || {
            let start = Instant::now();
            let server = plain.start()?;
            let up = start.elapsed().as_secs_f64();
            let first = seconds(|| server.first_token())?;
            token.1.push(first);
            Ok(up + first)
        },
    )?;
    Ok(vec![
        Line::cheaper(
            "server's start to its first token",
            "s",
            ours,
            PEER,
            theirs,
            1.05,
        ),
        Line::told(
            "a question to its first token",
            "s",
            median(token.0),
            PEER,
            median(token.1),
        ),
        Line::told(
            "from `casemate up` (measure, verify, open, confine, attack, serve) to the first token",
            "s",
            median(whole),
            PEER,
            theirs,
        ),
    ])
}

struct Up {
    /// Seconds for all of it.
    whole: f64,
    /// Seconds from the execution of the model's server to the last open gate.
    server: f64,
}

fn up(node: &Node, chat: &Chat) -> anyhow::Result<Up> {
    let mut command = node.casemate(&node.path("home"));
    let start = Instant::now();
    let mut child = command
        .arg("up")
        .arg(chat.file())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut executed = None;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            if line?.starts_with("infer: starting") {
                executed = Some(Instant::now());
            }
        }
    }
    ensure!(child.wait()?.success(), "casemate up failed");
    let executed = executed.context("`up` did not say when it executed the server")?;
    Ok(Up {
        whole: start.elapsed().as_secs_f64(),
        server: executed.elapsed().as_secs_f64(),
    })
}

const PEER: &str = "the same server, plain";

fn question() -> Request {
    let body = Chat::question("What is a fortress?", 8, true);
    Request::post_json("/v1/chat/completions", &body)
}

fn has_token(piece: &[u8]) -> bool {
    let text = String::from_utf8_lossy(piece);
    text.contains("\"content\":\"") && !text.contains("\"content\":\"\"")
}

/// The server as people run it: no sandbox, a plain file.
struct Plain {
    directory: std::path::PathBuf,
    model: std::path::PathBuf,
}

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Plain {
    fn prepare(node: &Node, tools: &Tools) -> anyhow::Result<Self> {
        let directory = node.path("plain");
        fs::create_dir(&directory)?;
        fs::copy(
            checkout().join("examples/chat/serve.py"),
            directory.join("serve.py"),
        )?;
        std::os::unix::fs::symlink(tools.llama_packages()?, directory.join("packages"))?;
        Ok(Self {
            directory,
            model: tools.model()?,
        })
    }

    fn start(&self) -> anyhow::Result<Running> {
        let address = free_address()?;
        let child = Command::new("/usr/bin/python3")
            .arg(self.directory.join("serve.py"))
            .arg(format!("--model={}", self.model.display()))
            .args([
                "--alias=smollm2-135m-instruct@1",
                &format!("--port={}", address.port()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the plain server")?;
        let running = Running { child, address };
        wait_for("the plain server", Duration::from_secs(60), || {
            let health = send_plain(address, &Request::get("/health"));
            Ok(health.ok().filter(|answer| answer.head.status == 200))
        })?;
        Ok(running)
    }
}

impl Running {
    fn first_token(&self) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.write_all(&question().bytes("127.0.0.1"))?;
        casemate_testkit::http::read_answer(&mut stream, |piece| !has_token(piece)).map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
