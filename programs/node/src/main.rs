//! `casemated`: owns the stages of one host.
#![allow(dead_code)]
mod control;
mod helper;
mod keys;
mod processes;
mod settings;
mod spawner;
mod stage_log;
mod store;

/// An error with its causes, on one line: every cause is printed once.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
fn main() {}
