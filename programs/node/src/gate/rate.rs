//! How often one gate is given a certificate: each one is a receipt that is kept for ever.
//!
//! A gate renews at half of a certificate's life. One that asks much more often is not our program.

use std::time::{Duration, Instant};

/// What becomes of one certificate request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Issue,
    TooSoon,
    /// No gate of ours asks like this: it is ended.
    Flood,
}

/// One gate's certificate requests.
#[derive(Debug)]
pub(super) struct CertificateRate {
    interval: Duration,
    next: Option<Instant>,
    refused: u32,
}

impl CertificateRate {
    /// For certificates that live for `lifetime`.
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            interval: LONGEST.min(lifetime / 4),
            next: None,
            refused: 0,
        }
    }

    pub(super) fn ask(&mut self, now: Instant) -> Answer {
        if self.next.is_none_or(|next| now >= next) {
            return Answer::Issue;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > PATIENCE {
            Answer::Flood
        } else {
            Answer::TooSoon
        }
    }

    /// A certificate was given.
    pub(super) fn issued(&mut self, now: Instant) {
        self.next = now.checked_add(self.interval);
        self.refused = 0;
    }

    /// None was given; the gate may try again soon, as an honest one must after a restarted issuer.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now.checked_add(AFTER_FAILURE);
        self.refused = 0;
    }
}

const LONGEST: Duration = Duration::from_secs(10);
/// Shorter than a gate's own wait between two tries.
const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// An honest gate that is refused tries again at most every half second.
const PATIENCE: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_gate_gets_one_certificate_in_ten_seconds() {
        let mut rate = CertificateRate::new(3600 * SECOND);
        let now = Instant::now();
        assert_eq!(rate.ask(now), Answer::Issue);
        rate.issued(now);
        assert_eq!(rate.ask(now + 9 * SECOND), Answer::TooSoon);
        assert_eq!(rate.ask(now + 10 * SECOND), Answer::Issue);
    }

    #[test]
    fn a_gate_with_short_certificates_renews_them_in_time() {
        for lifetime in [4, 8, 60] {
            let mut rate = CertificateRate::new(lifetime * SECOND);
            let mut now = Instant::now();
            for _ in 0..100 {
                assert_eq!(rate.ask(now), Answer::Issue);
                rate.issued(now);
                now += lifetime * SECOND / 2;
            }
        }
    }

    #[test]
    fn a_gate_that_does_not_stop_asking_is_ended() {
        let mut rate = CertificateRate::new(3600 * SECOND);
        let now = Instant::now();
        rate.issued(now);
        assert!((0..=PATIENCE).any(|_| rate.ask(now) == Answer::Flood));
    }

    #[test]
    fn a_gate_outlives_a_long_absence_of_the_issuer() {
        let mut rate = CertificateRate::new(8 * SECOND);
        let mut now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(rate.ask(now), Answer::Issue);
            rate.failed(now);
            now += SECOND / 2;
        }
    }
}
