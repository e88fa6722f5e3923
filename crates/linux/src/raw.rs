//! System calls by number, made from throw-away child processes.
//!
//! A raw call can break every promise the compiler relies on, so none is made in the calling process:
//! only a [`Child`], a forked process whose memory nobody else reads and which is about to end, can make
//! one. Nothing of what goes wrong there comes back, except the bytes that it reported and how it ended.
//!
//! The way in is [`run_in_child`]; [`hold`] keeps objects alive that others may try to reach.

mod child;
mod errno;
pub mod hold;

pub use child::{
    Child, ChildEnd, ChildOutcome, PANICKED, REPORT_LIMIT, RunInChildError, run_in_child,
};
pub use errno::Errno;

/// One argument of a raw call.
#[derive(Debug)]
pub enum Argument<'a> {
    /// A number, a flag word, a descriptor, or an address inside the child.
    Number(i64),
    /// Memory that the kernel reads.
    Bytes(&'a [u8]),
    /// Memory that the kernel writes.
    Fill(&'a mut [u8]),
}

impl Argument<'_> {
    fn word(&mut self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => bytes.as_ptr() as i64,
            Self::Fill(bytes) => bytes.as_mut_ptr() as i64,
        }
    }
}

impl From<i64> for Argument<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Argument<'_> {
    fn from(number: i32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<u32> for Argument<'_> {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a std::ffi::CStr> for Argument<'a> {
    fn from(text: &'a std::ffi::CStr) -> Self {
        Self::Bytes(text.to_bytes_with_nul())
    }
}

impl<'a> From<&'a mut [u8]> for Argument<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self::Fill(bytes)
    }
}

#[cfg(test)]
mod tests;
