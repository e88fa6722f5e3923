//! Which checks of a decision are made: every one, in every program.
//!
//! The tests of the claims must see that each of them can fail, so they build this crate with the feature
//! `controls-removed` and take one check out around a call. Without the feature there is nothing to take
//! out: [`in_force`] is the constant `true`. Only the tests of the claims ask for the feature, which
//! `cargo xtask arrows` checks.

/// A check that a claim takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// That a ticket is shown over the connection of the certificate it was issued to.
    TicketHolder,
    /// That a token has not ended.
    TokenExpiry,
    /// That neither a token nor whom it is about was revoked.
    Revocation,
    /// That the model which a body names is one that was granted.
    GrantedModel,
    /// That no member of a body has a name that another one has.
    OneReading,
    /// That each file of a sealed model is as long, and has the digest, that its signed header says.
    SignedFiles,
}

/// Whether this check is made.
#[cfg(not(feature = "controls-removed"))]
#[must_use]
pub const fn in_force(_: Control) -> bool {
    true
}

#[cfg(feature = "controls-removed")]
pub use removed::{in_force, without};

#[cfg(feature = "controls-removed")]
mod removed {
    use std::cell::Cell;

    use super::Control;

    thread_local! {
        static REMOVED: Cell<Option<Control>> = const { Cell::new(None) };
    }

    /// Whether this check is made by this thread.
    #[must_use]
    pub fn in_force(control: Control) -> bool {
        REMOVED.get() != Some(control)
    }

    /// Does something without this one check, on this thread alone.
    pub fn without<T>(control: Control, act: impl FnOnce() -> T) -> T {
        struct PutBack(Option<Control>);
        impl Drop for PutBack {
            fn drop(&mut self) {
                REMOVED.set(self.0);
            }
        }
        let _back = PutBack(REMOVED.replace(Some(control)));
        act()
    }
}
