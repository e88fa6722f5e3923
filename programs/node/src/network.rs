//! The network namespace of one stage: only a loopback, named by a mount that only we see.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_linux::namespace;

/// A network namespace. Dropping it takes the name away; it ends with its last process.
#[derive(Debug)]
pub(crate) struct Network {
    path: PathBuf,
}

/// What a stage's server said when it was knocked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// It answers requests.
    Answers,
    /// It listens, and says that it is not ready.
    NotReady,
    /// Nothing listens, or it says nothing.
    Silent,
}

impl Network {
    /// Makes the namespace at `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        namespace::create_network(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// A descriptor, to start a process in it.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        namespace::open_network(&self.path)
    }

    /// Asks the server inside for `/health`, from inside, and looks at the status and nothing else.
    ///
    /// The server may be hostile: at most a dozen bytes are read, within a second, and compared.
    pub(crate) fn knock(&self, port: u16) -> io::Result<Knock> {
        let address = crate::compile::loopback(port);
        namespace::in_network(self.open()?, move || Ok(knock(address)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = namespace::remove_network(&self.path) {
            tracing::error!(path = %self.path.display(), error = %error, "network namespace not removed");
        }
    }
}

fn knock(address: SocketAddr) -> Knock {
    use std::io::{Read as _, Write as _};
    let ask = || -> io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.write_all(QUESTION)?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    match ask() {
        // `HTTP/1.1 200`: a 5xx is a server that is still loading, anything else one that answers.
        Ok(
            [
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'1',
                b'.',
                _,
                b' ',
                b'5',
                _,
                _,
            ],
        ) => Knock::NotReady,
        Ok([b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', _, _, _]) => Knock::Answers,
        Ok(_) | Err(_) => Knock::Silent,
    }
}

const QUESTION: &[u8] = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 16];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn a_server_that_is_loading_is_not_ready() {
        assert_eq!(
            knock(server(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")),
            Knock::NotReady
        );
    }

    #[test]
    fn a_server_without_a_health_page_answers_all_the_same() {
        assert_eq!(
            knock(server(b"HTTP/1.0 404 File not found\r\n\r\n")),
            Knock::Answers
        );
    }

    #[test]
    fn something_else_on_the_port_is_silent() {
        assert_eq!(knock(server(b"SSH-2.0-OpenSSH_9.2\r\n")), Knock::Silent);
        assert_eq!(knock("127.0.0.1:1".parse().unwrap()), Knock::Silent);
    }
}
