//! Starts every child from one thread that lives as long as the daemon.
//!
//! Children are told to die with their parent, and for the kernel the parent is the *thread* that
//! made them. A child started from a worker thread would be killed when that worker retires; a child
//! started from here dies exactly when the daemon does, so a dead daemon leaves every gate closed.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use casemate_linux::process::{Child, Command, SpawnError};

type Reply = SyncSender<Result<Child, SpawnError>>;

/// The way to the spawning thread.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    orders: SyncSender<(Command, Reply)>,
}

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartChildError {
    #[error("the spawning thread has ended")]
    Gone,
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Spawner {
    /// Starts the thread. It ends with the last `Spawner`, and every child with it.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (orders, waiting) = sync_channel(16);
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || spawn_all(&waiting))?;
        Ok(Self { orders })
    }

    /// Starts `command`; returns when it is executing.
    pub(crate) fn spawn(&self, mut command: Command) -> Result<Child, StartChildError> {
        command.dies_with_parent();
        let (reply, answer) = sync_channel(1);
        self.orders
            .send((command, reply))
            .map_err(|_| StartChildError::Gone)?;
        Ok(answer.recv().map_err(|_| StartChildError::Gone)??)
    }
}

fn spawn_all(waiting: &Receiver<(Command, Reply)>) {
    while let Ok((command, reply)) = waiting.recv() {
        // Whoever asked may have given up; then the child must not live on unknown.
        if let Err(unheard) = reply.send(command.spawn())
            && let Ok(child) = unheard.0
        {
            child.kill().ok();
        }
    }
}
