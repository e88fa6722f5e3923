//! Proves who is calling and what they hold.
//!
//! Certificates, tickets and trust bundles: issuing them ([`authority`], [`ticket`]) and checking
//! them ([`svid`], [`tls`], [`jws`], [`jwks`], [`oidc`]). It never reads a clock, a file or a socket:
//! `now` and bytes come in as arguments. It never picks an algorithm, a key or a token type from what
//! a peer sent: each token type has one fixed profile.
//!
//! # Time
//!
//! The wall clock is the only judge of validity, asked again at every use. Inside the trust domain
//! there is no leeway: what is issued is dated [`BACKDATE`] into the past instead, and refused from
//! the second it expires. A clock that jumps forward refuses early and heals by reissue. A clock that
//! jumps back cannot stretch anything: no verdict is remembered together with a deadline of another
//! clock, `iat` and `notBefore` in the future refuse, and lifetimes have an upper bound, so a token
//! can only count inside its own original window. Revocations outlive that window for a day, so
//! going back never revives what was revoked. What limits how often we ask others (key fetches) runs
//! on a monotonic clock ([`oidc::Tick`]) that no jump moves.

pub mod authority;
pub mod bundle;
mod der;
mod encoding;
#[doc(hidden)]
pub mod fuzz;
pub mod jwks;
pub mod jws;
pub mod oidc;
pub mod strict_json;
pub mod svid;
#[cfg(test)]
mod testing;
pub mod ticket;
pub mod tls;

use std::time::Duration;

/// How far into the past everything we issue is dated, instead of leeway at whoever checks it.
pub const BACKDATE: Duration = Duration::from_secs(10);
