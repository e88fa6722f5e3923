//! Looks again and again at everything that runs: one timer instead of several per request.

use std::sync::Arc;
use std::time::Duration;

use crate::gate::Gate;

/// How often running requests are looked at. Changes of what holds are looked at without waiting.
const ROUND: Duration = Duration::from_millis(40);
/// How often connections are looked at, in ticks.
const CONNECTIONS_MS: u64 = 200;

/// Sweeps until the task is dropped.
pub async fn sweep(gate: Arc<Gate>) {
    let mut last = 0;
    loop {
        let connections = gate.connections();
        if connections.is_empty() && gate.flights.is_empty() {
            gate.upstream.prune();
            // A quiet gate does not wake up at all.
            gate.sweep.notified().await;
        } else {
            // Being woken early is as good as the end of the wait.
            drop(tokio::time::timeout(ROUND, gate.sweep.notified()).await);
        }
        let (standing, now, ticks) = (gate.standing(), gate.now(), gate.ticks());
        for flight in gate.flights.all() {
            flight.sweep(&gate, &standing, now, ticks);
        }
        // By the clock, not by rounds: a gate that is woken again and again has no full round.
        if ticks.saturating_sub(last) >= CONNECTIONS_MS {
            last = ticks;
            for connection in connections {
                connection.sweep(ticks);
            }
            gate.upstream.prune();
        }
    }
}
