//! The daemon's API on its Unix socket: who may ask, how much they may send, and which handler answers.
//!
//! The socket's mode already keeps others out; the peer's credentials are looked at as well, because
//! a socket can be passed on or bound into a container. Handlers live in [`handlers`].

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use casemate_linux::rights::User;
use casemate_linux::socket;
use tokio::net::UnixListener;

use crate::failure::{Code, Failure};
use crate::node::Node;

mod groups;
mod handlers;
mod openapi;
mod stream;

pub(crate) use groups::{FindGroupError, Group};
pub(crate) use openapi::document;

/// Why the API could not be offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot listen at `{path}`")]
    Listen { path: String, source: io::Error },
    #[error("another daemon listens at `{path}`")]
    AnotherDaemon { path: String },
    #[error("the API ended")]
    Serve(#[source] io::Error),
}

/// Binds the API's socket, replacing one that nobody listens on.
pub(crate) fn bind(
    path: &Path,
    group: Option<&Group>,
) -> Result<std::os::unix::net::UnixListener, ServeError> {
    let listen = |source| ServeError::Listen {
        path: path.display().to_string(),
        source,
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ServeError::AnotherDaemon {
            path: path.display().to_string(),
        });
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(listen(error)),
        Ok(()) | Err(_) => {}
    }
    // Nobody can connect between bind and chmod: the run directory is 0711 and the umask 077.
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(listen)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(listen)?;
    std::os::unix::fs::chown(path, Some(0), Some(group.map_or(0, |group| group.gid)))
        .map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    Ok(listener)
}

/// Answers for as long as it is polled.
pub(crate) async fn serve(
    listener: std::os::unix::net::UnixListener,
    node: Arc<Node>,
    group: Option<Group>,
) -> Result<(), ServeError> {
    let listener = UnixListener::from_std(listener).map_err(ServeError::Serve)?;
    let router = router(node, group).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, router)
        .await
        .map_err(ServeError::Serve)
}

fn router(node: Arc<Node>, group: Option<Group>) -> Router {
    Router::new()
        .route("/v1/status", get(handlers::status))
        .route("/v1/enclosures", post(handlers::up))
        .route("/v1/enclosures/{name}", delete(handlers::down))
        .route("/v1/probe", post(handlers::probe))
        .route("/v1/receipts", get(handlers::receipts))
        .route("/v1/receipt-key", get(handlers::receipt_key))
        .route("/v1/events", get(handlers::events))
        .route("/v1/logs/{enclosure}/{stage}", get(handlers::logs))
        .route("/v1/trust", get(handlers::trust))
        .route("/v1/revoke", post(handlers::revoke))
        .route("/v1/leftovers", get(handlers::leftovers))
        .route("/openapi.json", get(handlers::openapi))
        .fallback(handlers::unknown)
        .method_not_allowed_fallback(handlers::unknown)
        .layer(from_fn_with_state(Arc::new(group), permitted_only))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(node)
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug)]
struct Peer {
    user: Option<User>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let user = stream.io().peer_cred().ok().map(|peer| User {
            uid: peer.uid(),
            gid: peer.gid(),
            // Groups that are not known give no rights.
            groups: socket::peer_groups(stream.io()).unwrap_or_default(),
        });
        Self { user }
    }
}

async fn permitted_only(
    State(group): State<Arc<Option<Group>>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match peer.user {
        Some(User { uid: 0, .. }) => next.run(request).await,
        Some(User { uid, gid, .. })
            if group
                .as_ref()
                .as_ref()
                .is_some_and(|group| group.has(uid, gid)) =>
        {
            next.run(request).await
        }
        Some(User { uid, .. }) => {
            tracing::warn!(uid, path = request.uri().path(), "request refused");
            let message = format!("user {uid} may not use this daemon");
            Failure::new(Code::NotPermitted, message).into_response()
        }
        None => Failure::new(Code::NotPermitted, "the kernel does not say who is asking")
            .into_response(),
    }
}

/// An enclosure file is far smaller; nothing else has a body worth mentioning.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
