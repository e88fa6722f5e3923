//! What the privileged tests, the demonstration and the bench share. Never in a shipped binary.
//!
//! It starts the real programs in temporary directories, with a real OpenID provider on loopback,
//! and speaks to them as a client would. Nothing here stands in for a part of Casemate.
//!
//! Start at [`Node`] (the daemon), [`IdentityProvider`] (the login) and [`chat`] (the example).
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says why on stdout, where `cargo xtask test` counts it"
)]

pub mod chat;
pub mod client;
pub mod http;
pub mod identity_provider;
pub mod leftovers;
pub mod node;
pub mod oci;
pub mod person;
pub mod programs;
pub mod stand_in;
pub mod wait;

pub use chat::Chat;
pub use identity_provider::IdentityProvider;
pub use node::Node;
pub use person::Person;
pub use programs::{Programs, Tools};
pub use stand_in::StandIn;
pub use wait::wait_for;

/// Prints why a test cannot run here; `cargo xtask test` shows and counts these lines.
pub fn skipped(reason: &str) {
    println!("SKIP: {reason}");
}

/// Ends the test as skipped, with a reason that is printed and counted.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(&format!($($reason)*));
        return Default::default();
    }};
}

/// Ends the test as skipped unless this machine can run enclosures: root, runc, FUSE, the programs.
#[macro_export]
macro_rules! needs_host {
    () => {
        if let Some(reason) = $crate::programs::host_lacks() {
            $crate::skip!("{reason}");
        }
    };
}
