//! Looks again and again at everything that runs: one timer instead of several per request.

use std::sync::Arc;
use std::time::Duration;

use crate::gate::Gate;

/// How often running requests are looked at. Changes of what holds are looked at without waiting.
const ROUND: Duration = Duration::from_millis(40);
/// Connections are looked at in every so many rounds.
const CONNECTION_ROUNDS: u32 = 5;

/// Sweeps until the task is dropped.
pub async fn sweep(gate: Arc<Gate>) {
    let mut round = 0_u32;
    loop {
        let connections = gate.connections();
        if connections.is_empty() && gate.flights.is_empty() {
            gate.upstream.prune();
            // A quiet gate does not wake up at all.
            gate.sweep.notified().await;
        } else if tokio::time::timeout(ROUND, gate.sweep.notified())
            .await
            .is_err()
        {
            round = round.wrapping_add(1);
        }
        let (standing, now, ticks) = (gate.standing(), gate.now(), gate.ticks());
        for flight in gate.flights.all() {
            flight.sweep(&gate, &standing, now, ticks);
        }
        if round.is_multiple_of(CONNECTION_ROUNDS) {
            for connection in connections {
                connection.sweep(ticks);
            }
            gate.upstream.prune();
        }
    }
}
