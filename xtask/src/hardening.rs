//! Reads the ELF headers of the built programs and fails on a missing protection.
//!
//! Wanted of all: position-independent, a stack that is not executable, relocations read-only, no
//! library search path. Of those that enter a sandbox: no interpreter, so no library at all.

use std::fs;

use anyhow::{Context as _, bail};

use crate::{build, shell};

/// What the headers of one program say.
#[derive(Debug, PartialEq, Eq)]
struct Headers {
    position_independent: bool,
    executable_stack: bool,
    relro: bool,
    bind_now: bool,
    interpreter: bool,
    search_path: bool,
}

/// Checks every program that `build` collected.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let host = build::ON_THE_HOST.iter().map(|(_, name)| (*name, false));
    let inside = build::IN_A_SANDBOX.iter().map(|(_, name)| (*name, true));
    for (name, is_static) in host.chain(inside) {
        let path = shell::programs().join(name);
        let bytes = fs::read(&path)
            .with_context(|| format!("`{}`; run `cargo xtask build`", path.display()))?;
        let headers = parse(&bytes).with_context(|| format!("`{name}` is no 64-bit ELF file"))?;
        let checks = [
            (headers.position_independent, "is not position-independent"),
            (!headers.executable_stack, "has an executable stack"),
            (headers.relro, "has writable relocations"),
            (
                headers.bind_now,
                "binds lazily, so its relocations stay writable",
            ),
            (!headers.search_path, "has a library search path"),
            (
                headers.interpreter != is_static,
                "is linked the wrong way (static or not)",
            ),
        ];
        faults.extend(
            checks
                .iter()
                .filter(|(held, _)| !held)
                .map(|(_, fault)| format!("{name} {fault}")),
        );
    }
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    println!("hardening: every program is PIE, full RELRO, NX, without search paths");
    Ok(())
}

fn parse(file: &[u8]) -> Option<Headers> {
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let mut headers = Headers {
        position_independent: number(file, 16, 2)? == ET_DYN,
        // Without the header the kernel assumes an executable stack.
        executable_stack: true,
        relro: false,
        bind_now: false,
        interpreter: false,
        search_path: false,
    };
    let (table, size, count) = (
        number(file, 32, 8)?,
        number(file, 54, 2)?,
        number(file, 56, 2)?,
    );
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        match number(file, at, 4)? {
            PT_INTERP => headers.interpreter = true,
            PT_GNU_STACK => headers.executable_stack = number(file, at + 4, 4)? & 1 != 0,
            PT_GNU_RELRO => headers.relro = true,
            PT_DYNAMIC => {
                let start = number(file, at + 8, 8)?;
                let end = start.checked_add(number(file, at + 32, 8)?)?;
                read_dynamic(file, start, end, &mut headers)?;
            }
            _ => {}
        }
    }
    Some(headers)
}

fn read_dynamic(file: &[u8], start: u64, end: u64, headers: &mut Headers) -> Option<()> {
    let mut at = start;
    while at < end {
        let (tag, value) = (number(file, at, 8)?, number(file, at + 8, 8)?);
        match tag {
            DT_NULL => break,
            DT_RPATH | DT_RUNPATH => headers.search_path = true,
            DT_BIND_NOW => headers.bind_now = true,
            DT_FLAGS => headers.bind_now |= value & 8 != 0,
            DT_FLAGS_1 => headers.bind_now |= value & 1 != 0,
            _ => {}
        }
        at += 16;
    }
    Some(())
}

/// A little-endian number of `size` bytes at `offset`.
fn number(file: &[u8], offset: u64, size: usize) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let bytes = file.get(start..start.checked_add(size)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte)),
    )
}

const ET_DYN: u64 = 3;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const DT_NULL: u64 = 0;
const DT_RPATH: u64 = 15;
const DT_BIND_NOW: u64 = 24;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS: u64 = 30;
const DT_FLAGS_1: u64 = 0x6fff_fffb;

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn our_own_headers_are_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let headers = parse(&own).unwrap();
        assert!(headers.position_independent && headers.relro && headers.interpreter);
        assert!(!headers.executable_stack && !headers.search_path);
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert_eq!(parse(b"\x7fELF\x02\x01"), None);
    }
}
