//! What `/proc` says about a process.

use std::collections::BTreeMap;
use std::io;

use crate::capability::Capabilities;

/// The parts of `/proc/<pid>/status` that tell what a process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file system user.
    pub uids: Vec<u32>,
    /// Real, effective, saved and file system group.
    pub gids: Vec<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Whether executing can no longer give privilege.
    pub no_new_privileges: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// How many filters.
    pub seccomp_filters: u32,
}

/// One line of a user or group id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A soft and a hard limit; `None` is unlimited.
pub type Limit = (Option<u64>, Option<u64>);

/// Reads `/proc/<process>/status`, where `process` may be `self`.
///
/// # Errors
/// When it cannot be read, or a line is missing or not understood.
pub fn status(process: &str) -> io::Result<Status> {
    parse_status(&std::fs::read_to_string(format!("/proc/{process}/status"))?)
}

/// Reads the text of a `status` file.
///
/// # Errors
/// `InvalidData` when a line is missing or not understood.
pub fn parse_status(text: &str) -> io::Result<Status> {
    let lines: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let line = |name: &str| lines.get(name).copied().ok_or_else(|| not_understood(name));
    let numbers = |name: &str| -> io::Result<Vec<u32>> {
        let parts = line(name)?.split_ascii_whitespace();
        parts
            .map(|part| part.parse().map_err(|_| not_understood(name)))
            .collect()
    };
    let number = |name: &str| line(name)?.parse::<u32>().map_err(|_| not_understood(name));
    let mask = |name: &str| u64::from_str_radix(line(name)?, 16).map_err(|_| not_understood(name));
    Ok(Status {
        uids: numbers("Uid")?,
        gids: numbers("Gid")?,
        groups: numbers("Groups")?,
        capabilities: Capabilities {
            inheritable: mask("CapInh")?,
            permitted: mask("CapPrm")?,
            effective: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            ambient: mask("CapAmb")?,
        },
        no_new_privileges: number("NoNewPrivs")? == 1,
        seccomp_mode: number("Seccomp")?,
        seccomp_filters: number("Seccomp_filters")?,
    })
}

/// Reads `/proc/<process>/uid_map` or `gid_map`.
///
/// # Errors
/// When it cannot be read or is not understood.
pub fn id_map(process: &str, file: &str) -> io::Result<Vec<IdMapping>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/{file}"))?;
    text.lines()
        .map(|line| {
            let mut parts = line.split_ascii_whitespace().map(str::parse::<u32>);
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count)), None) => Ok(IdMapping {
                    inside,
                    outside,
                    count,
                }),
                _ => Err(not_understood(file)),
            }
        })
        .collect()
}

/// Reads `/proc/<process>/limits`, by the kernel's names, such as `Max open files`.
///
/// # Errors
/// When it cannot be read or is not understood.
pub fn limits(process: &str) -> io::Result<BTreeMap<String, Limit>> {
    parse_limits(&std::fs::read_to_string(format!("/proc/{process}/limits"))?)
}

fn parse_limits(text: &str) -> io::Result<BTreeMap<String, Limit>> {
    text.lines()
        .skip(1)
        .map(|line| {
            // Columns of fixed width: the name of 25 characters, then both limits.
            let (name, rest) = line
                .split_at_checked(25)
                .ok_or_else(|| not_understood("limits"))?;
            let mut values = rest.split_ascii_whitespace();
            let mut value = || match values.next() {
                Some("unlimited") => Ok(None),
                Some(digits) => digits
                    .parse()
                    .map(Some)
                    .map_err(|_| not_understood("limits")),
                None => Err(not_understood("limits")),
            };
            Ok((name.trim().to_owned(), (value()?, value()?)))
        })
        .collect()
}

/// The names of the network interfaces in the network namespace of a process.
///
/// # Errors
/// When `/proc/<process>/net/dev` cannot be read.
pub fn interfaces(process: &str) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/dev"))?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    Ok(names.map(|(name, _)| name.trim().to_owned()).collect())
}

/// The numbers of the open descriptors of this process, without the one used for looking.
///
/// # Errors
/// When `/proc/self/fd` cannot be read.
pub fn descriptors() -> io::Result<Vec<u32>> {
    use std::os::fd::AsRawFd as _;
    let directory = std::fs::File::open("/proc/self/fd")?;
    let own = directory.as_raw_fd();
    let mut numbers = Vec::new();
    for entry in rustix::fs::Dir::new(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Ok(number) = name.parse::<u32>()
            && i64::from(number) != i64::from(own)
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn not_understood(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("`{what}` of /proc is not understood"),
    )
}

/// Whether this machine moves memory to swap.
///
/// # Errors
/// When that cannot be told, also because the table of swap areas is covered by something empty.
pub fn swaps() -> io::Result<bool> {
    match std::fs::read_to_string("/proc/swaps") {
        Ok(text) => parse_swaps(&text),
        // A kernel that cannot swap has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse_swaps(text: &str) -> io::Result<bool> {
    let mut lines = text.lines();
    match lines.next() {
        Some(header) if header.starts_with("Filename") => Ok(lines.next().is_some()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "`/proc/swaps` is covered",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_status_is_understood() {
        let status = status("self").unwrap();
        assert_eq!(status.uids.len(), 4);
        assert!(status.seccomp_mode <= 2);
    }

    #[test]
    fn an_empty_table_of_swap_areas_does_not_mean_that_there_are_none() {
        let header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!parse_swaps(header).unwrap());
        assert!(parse_swaps(&format!("{header}/swap file 1048572 0 -2\n")).unwrap());
        assert!(parse_swaps("").is_err());
    }

    #[test]
    fn a_status_without_a_line_is_an_error() {
        assert!(parse_status("Uid:\t0\t0\t0\t0\n").is_err());
    }

    #[test]
    fn the_own_limits_are_understood() {
        let limits = limits("self").unwrap();
        assert!(limits.contains_key("Max core file size"), "{limits:?}");
        assert!(limits.contains_key("Max open files"));
    }

    #[test]
    fn the_own_descriptors_include_the_standard_ones() {
        let numbers = descriptors().unwrap();
        assert!(numbers.starts_with(&[0, 1, 2]), "{numbers:?}");
    }

    #[test]
    fn the_own_id_map_is_understood() {
        assert!(!id_map("self", "uid_map").unwrap().is_empty());
    }
}
