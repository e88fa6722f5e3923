//! Listens on the two sockets it was given and answers, within bounds that no peer can move.

mod connection;
mod route;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::issuer::{FromIssuer, Ready};
use casemate_core::time::SystemClock;
use casemate_identity::tls::{ClientAuth, Peers, TlsSettingsError, server_config};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::confine::Confined;
use crate::control::{self, ControlError};
use crate::exchange::Door;
use crate::issuer::{AssembleError, Issuer};
use crate::own::{self, OwnSvidError};
use crate::rate::Peer;
use crate::settings::Inherited;
use connection::{Connection, PerAddress};

/// Why the issuer stopped, other than because the daemon closed its channel.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings do not make an issuer.
    #[error("the settings cannot be used")]
    Assemble(#[from] AssembleError),
    /// No certificate of its own.
    #[error("the issuer cannot certify itself")]
    Own(#[from] OwnSvidError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsSettingsError),
    /// A descriptor cannot be used by the runtime.
    #[error("a socket cannot be used")]
    Socket(#[source] io::Error),
    /// The daemon's channel broke.
    #[error("the control channel broke")]
    Control(#[from] ControlError),
    /// The key set cannot be written; a fault of ours.
    #[error("the ticket keys cannot be written")]
    Keys(#[from] serde_json::Error),
}

/// Serves until the daemon closes the control channel.
///
/// # Errors
/// When it cannot start, or the channel breaks.
pub async fn run(inherited: Inherited, confined: Confined) -> Result<(), ServeError> {
    let Inherited {
        settings,
        revocations,
        control,
        tcp,
        mesh,
        roots_pem,
    } = inherited;
    let (outbox, messages) = mpsc::channel(OUTBOX);
    // Before anything listens: what was revoked is refused from the first connection on.
    let issuer = Issuer::assemble(settings, &revocations, &roots_pem, outbox.clone())?;
    let issuer = Arc::new(issuer);
    drop(revocations);
    drop(roots_pem);
    own::renew(&issuer)?;

    let public = tls(&issuer, ClientAuth::Optional(Peers::Members))?;
    let gates = tls(&issuer, ClientAuth::Required(Peers::Members))?;
    let tcp = TcpListener::from_std(tcp).map_err(ServeError::Socket)?;
    let mesh = UnixListener::from_std(mesh).map_err(ServeError::Socket)?;
    let (reading, writing) = UnixStream::from_std(control)
        .map_err(ServeError::Socket)?
        .into_split();

    // Everything that runs belongs to one of these and ends with it.
    let mut tasks = JoinSet::new();
    tasks.spawn(own::keep(Arc::clone(&issuer)));
    tasks.spawn(accept_tcp(Arc::clone(&issuer), tcp, public));
    tasks.spawn(accept_mesh(Arc::clone(&issuer), mesh, gates));

    let ready = FromIssuer::Ready(Ready {
        jwks: serde_json::from_str(&issuer.jwks)?,
        bundle_pem: issuer.bundle_pem.clone(),
        landlock_abi: confined.landlock_abi(),
    });
    outbox.send(ready).await.map_err(|_| ControlError::Closed)?;
    tokio::select! {
        read = control::listen(issuer, reading, outbox) => Ok(read?),
        written = control::speak(writing, messages) => {
            written?;
            Err(ControlError::Closed.into())
        }
    }
}

fn tls(issuer: &Issuer, clients: ClientAuth) -> Result<TlsAcceptor, TlsSettingsError> {
    let config: ServerConfig = server_config(
        Arc::clone(&issuer.svids),
        Arc::clone(&issuer.bundle),
        clients,
        Arc::new(SystemClock),
        &[b"h2", b"http/1.1"],
    )?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept_tcp(issuer: Arc<Issuer>, listener: TcpListener, acceptor: TlsAcceptor) {
    let room = Arc::new(Semaphore::new(issuer.bounds.connections));
    let shares = Arc::new(PerAddress::new(issuer.bounds.connections.div_ceil(4)));
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Some((stream, address)) = accepted(listener.accept().await).await else {
            continue;
        };
        let address: SocketAddr = address;
        let peer = Peer::at(address.ip());
        // Before the handshake, which costs us more than them; without a word, as there is no
        // channel yet to say it on.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let Some(share) = PerAddress::take(&shares, peer.clone()) else {
            continue;
        };
        if !issuer.may_ask(&peer) || stream.set_nodelay(true).is_err() {
            continue;
        }
        let connection = Connection {
            issuer: Arc::clone(&issuer),
            door: Door::Public,
            from: Some(peer),
        };
        let acceptor = acceptor.clone();
        running.spawn(async move {
            connection.serve(acceptor, stream).await;
            drop((place, share));
        });
    }
}

async fn accept_mesh(issuer: Arc<Issuer>, listener: UnixListener, acceptor: TlsAcceptor) {
    let room = Arc::new(Semaphore::new(issuer.bounds.connections));
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Some((stream, _)) = accepted(listener.accept().await).await else {
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let connection = Connection {
            issuer: Arc::clone(&issuer),
            door: Door::Mesh,
            from: None,
        };
        let acceptor = acceptor.clone();
        running.spawn(async move {
            connection.serve(acceptor, stream).await;
            drop(place);
        });
    }
}

/// An accepted connection. Errors are of that connection or of a full table: wait, then go on.
async fn accepted<S, A>(result: io::Result<(S, A)>) -> Option<(S, A)> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(reason = %error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// How many messages wait for the daemon; when there is no room, nothing is issued.
const OUTBOX: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
