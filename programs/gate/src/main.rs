//! casemate-gate: the only way into a stage and out of it. Started by the daemon; takes no arguments.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::gate::{FromGate, Nothing};
use casemate_core::time::SystemClock;
use casemate_gate::audit::Audit;
use casemate_gate::gate::Gate;
use casemate_gate::settings::{Door, Given};
use casemate_gate::{confine, control, listen, noise, outbound, rotate, settings, sweep};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Our own fault, or that of whoever started us.
const FAULT: u8 = 70;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut causes = String::new();
            let mut cause = error.source();
            while let Some(error) = cause {
                causes.push_str(": ");
                causes.push_str(&error.to_string());
                cause = error.source();
            }
            tracing::error!("{error}{causes}");
            ExitCode::from(FAULT)
        }
    }
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    let given = settings::read()?;
    // Bound before the walls go up: afterwards nothing can be bound.
    let mut inner_doors = Vec::with_capacity(given.settings.outbound.len());
    for outbound in &given.settings.outbound {
        let door = casemate_linux::socket::listen_tcp(outbound.listen)?;
        door.set_nonblocking(true)?;
        inner_doors.push(door);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let applied = confine::confine(given.settings.upstream.port())?;
    tracing::info!(abi = applied.abi, "confined");
    runtime.block_on(run(given, inner_doors))
}

async fn run(
    given: Given,
    inner_doors: Vec<std::net::TcpListener>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (audit, lines) = Audit::channel();
    let gate = Arc::new(Gate::new(given.settings, audit, Arc::new(SystemClock))?);
    let (reading, writing) = UnixStream::from_std(given.control)?.into_split();
    let (svid_answers, mut answers) = mpsc::channel(4);
    let drained = Arc::new(Notify::new());
    let last = Arc::new(Notify::new());

    let mut tasks = JoinSet::new();
    let reports = tokio::spawn(control::report(lines, writing, Arc::clone(&last)));
    let mut orders = tokio::spawn(control::obey(
        Arc::clone(&gate),
        reading,
        svid_answers,
        Arc::clone(&drained),
    ));
    tokio::select! {
        first = rotate::rotate(&gate, &mut answers) => first?,
        ended = &mut orders => return Err(format!("the control channel ended: {ended:?}").into()),
    }
    for door in given.doors {
        let gate = Arc::clone(&gate);
        match door {
            Door::Exposed(door) => tasks.spawn(listen::exposed(gate, door)),
            Door::Mesh(door) => tasks.spawn(listen::mesh(gate, door)),
        };
    }
    for (index, door) in inner_doors.into_iter().enumerate() {
        tasks.spawn(outbound::listen(Arc::clone(&gate), index, door));
    }
    let sweeper = tokio::spawn(sweep::sweep(Arc::clone(&gate)));
    let summaries = tokio::spawn(noise::sum_up(Arc::clone(&gate)));
    let rotation = tokio::spawn(rotate::keep(Arc::clone(&gate), answers));
    gate.audit.say(FromGate::Ready(Nothing {})).await;

    let ended = tokio::select! {
        // The daemon is gone, or says what we do not understand: the door closes with us.
        ended = &mut orders => Err(format!("the control channel ended: {ended:?}").into()),
        Some(door) = tasks.join_next() => Err(format!("a listener ended: {door:?}").into()),
        () = finish(&gate, &drained) => Ok(()),
        never = statistics(&gate) => match never {},
    };
    sweeper.abort();
    summaries.abort();
    rotation.abort();
    tasks.shutdown().await;
    gate.sum_up();
    gate.audit.say(FromGate::Stats(gate.stats())).await;
    orders.abort();
    last.notify_one();
    // The last lines go out, if anybody reads them.
    if tokio::time::timeout(Duration::from_secs(1), reports)
        .await
        .is_err()
    {
        tracing::warn!("the last events were not read");
    }
    ended
}

/// Returns when the gate was told to drain, and nothing runs any more.
async fn finish(gate: &Gate, drained: &Notify) {
    drained.notified().await;
    while !gate.flights.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tells the daemon every minute what was counted.
async fn statistics(gate: &Gate) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        gate.audit.say(FromGate::Stats(gate.stats())).await;
    }
}
