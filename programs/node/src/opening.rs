//! The first launch of an enclosure's stages together: all their gates open, or none does.
//!
//! Each stage launches in a thread of its own and arrives here when its server answers. Nobody goes on
//! before the last has arrived; when one fails instead, the others give up at their next step.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the stages of one enclosure wait for each other.
#[derive(Debug)]
pub(crate) struct Opening {
    state: Mutex<State>,
    changed: Condvar,
}

/// Never leaves `All` or `Never`: a stage that is launched again later does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many stages are still missing.
    Missing(usize),
    /// Every stage has arrived.
    All,
    /// One of them will not.
    Never,
}

impl Opening {
    pub(crate) const fn of(stages: usize) -> Self {
        let state = if stages == 0 {
            State::All
        } else {
            State::Missing(stages)
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A stage is ready. Called once by each, in its first launch.
    pub(crate) fn arrive(&self) {
        let mut state = self.state();
        if let State::Missing(missing) = *state {
            *state = match missing.saturating_sub(1) {
                0 => State::All,
                missing => State::Missing(missing),
            };
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the last stage, for at most `limit`; whether it has arrived.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), limit, |state| {
                matches!(state, State::Missing(_))
            })
            .unwrap_or_else(PoisonError::into_inner);
        *state == State::All
    }

    /// No gate of this enclosure opens any more, unless they all may already.
    pub(crate) fn give_up(&self) {
        let mut state = self.state();
        if *state != State::All {
            *state = State::Never;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the first launch has failed.
    pub(crate) fn given_up(&self) -> bool {
        *self.state() == State::Never
    }

    /// Whether every stage has arrived: then this launch is a later one, or need not wait.
    pub(crate) fn is_over(&self) -> bool {
        *self.state() == State::All
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_goes_on_before_the_last_has_arrived() {
        let opening = Arc::new(Opening::of(2));
        opening.arrive();
        assert!(!opening.wait(Duration::from_millis(20)));
        let other = Arc::clone(&opening);
        let last = std::thread::spawn(move || other.arrive());
        assert!(opening.wait(Duration::from_secs(10)));
        last.join().expect("arrives");
        assert!(opening.is_over());
    }

    #[test]
    fn who_waits_hears_at_once_that_another_failed() {
        let opening = Arc::new(Opening::of(2));
        opening.arrive();
        let other = Arc::clone(&opening);
        let failing = std::thread::spawn(move || other.give_up());
        let began = std::time::Instant::now();
        assert!(!opening.wait(Duration::from_secs(60)));
        assert!(began.elapsed() < Duration::from_secs(30));
        failing.join().expect("gives up");
        // The last one comes too late.
        opening.arrive();
        assert!(opening.given_up() && !opening.is_over());
    }

    #[test]
    fn what_is_open_is_not_closed_by_a_later_failure() {
        let opening = Opening::of(1);
        opening.arrive();
        opening.give_up();
        assert!(opening.is_over() && !opening.given_up());
    }
}
