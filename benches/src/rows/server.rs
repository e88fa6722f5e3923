//! The same llama.cpp server, sealed and plain: from its start to the first token of an answer.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use casemate_testkit::http::{Request, send_plain};
use casemate_testkit::identity_provider::free_address;
use casemate_testkit::programs::checkout;
use casemate_testkit::{Chat, IdentityProvider, Node, Person, Tools, wait_for};

use crate::measure::{alternate, seconds};
use crate::report::Line;

/// Time from the answer of `up` (which waits for the server as this does for the plain one) and from a
/// question to its first token.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let tools = Tools::locate();
    let provider = IdentityProvider::start(&tools)?;
    let node = Node::start()?;
    let chat = Chat::prepare(&node, &tools, &provider)?;
    let plain = Plain::prepare(&node, &tools)?;
    let mut sealed_question = Vec::new();
    let mut plain_question = Vec::new();
    let (ours, theirs) = alternate(
        3,
        || {
            let start = Instant::now();
            node.run_casemate(&["up", &chat.file().display().to_string()])?;
            let up = start.elapsed().as_secs_f64();
            let person = Person::log_in(&node, &provider, "bench", &["analysts"])?;
            let ticket = person.ticket(&node, "redact", &[])?;
            let redact = casemate_testkit::person::stage_id("redact");
            let client = person.client(&node, chat.gate(), &redact)?;
            let request = question().with("authorization", &format!("Bearer {ticket}"));
            let token = seconds(|| {
                let answer = client.stream(&request, |piece| !has_token(piece))?;
                ensure!(answer.head.status == 200, "{}", answer.text());
                Ok(())
            })?;
            sealed_question.push(token);
            node.run_casemate(&["down", "chat"])?;
            Ok(up + token)
        },
        || {
            let start = Instant::now();
            let server = plain.start()?;
            let up = start.elapsed().as_secs_f64();
            let token = seconds(|| server.first_token())?;
            plain_question.push(token);
            Ok(up + token)
        },
    )?;
    let (mine, peer) = (
        crate::measure::median(sealed_question),
        crate::measure::median(plain_question),
    );
    Ok(vec![
        Line::cheaper(
            "from start to the first token (ours: attest, open, confine, probe, serve, two gates)",
            "s",
            ours,
            "the same server, plain",
            theirs,
            1.05,
        ),
        Line::cheaper(
            "first question after start to its first token",
            "s",
            mine,
            "the same server, plain",
            peer,
            1.05,
        ),
    ])
}

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
