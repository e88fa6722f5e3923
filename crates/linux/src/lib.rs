//! Safe names for kernel acts.
//!
//! Everything the project asks of Linux is asked here: the rest of it has no `unsafe`. A function
//! does one act, takes and returns owned values, and says which act failed. It knows no word of the
//! domain and decides nothing.
//!
//! [`process`] starts programs with exactly what they are given; [`namespace`], [`mount`],
//! [`cgroup`] and [`capability`] build the walls; [`landlock`] and [`seccomp`] are the walls that a
//! process puts around itself; [`memory`] keeps secrets out of swap and dumps; [`socket`] carries
//! descriptors; [`proc`] reads what the kernel says about a process; [`rights`] opens files as somebody
//! else would; [`usage`] is what a program took.

#![expect(
    unsafe_code,
    reason = "this crate is where the project keeps its unsafe code"
)]

pub mod capability;
pub mod cgroup;
pub mod inherit;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod proc;
pub mod process;
pub mod raw;
pub mod rights;
pub mod seccomp;
pub mod socket;
pub mod usage;
pub mod wiping;
