//! What the prober knows about itself before the first check: its status, its mounts, its filter.

use std::fs;

use casemate_core::finding::ProbeOrder;

use crate::sweep::Sweep;

/// Facts that checks read; gathered once, in the prober itself.
pub(crate) struct Scene {
    pub(crate) order: ProbeOrder,
    pub(crate) status: Status,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) sweep: Sweep,
    /// Descriptors that belong to the prober and are no leak.
    pub(crate) own_descriptors: Vec<i32>,
    /// The variables the prober was started with, as `NAME=value`.
    pub(crate) environment: Vec<String>,
}

/// The lines of `/proc/self/status` that say what a process may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) bounding: u64,
    pub(crate) ambient: u64,
    pub(crate) no_new_privs: bool,
    pub(crate) seccomp_mode: u32,
    pub(crate) seccomp_filters: u32,
    /// Host id of id 0 inside, when the map could be read.
    pub(crate) root_is: Option<u32>,
    /// How many user ids the namespace maps.
    pub(crate) mapped: u64,
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) at: String,
    pub(crate) kind: String,
    pub(crate) options: Vec<String>,
    /// Whether mounts travel between here and somewhere else.
    pub(crate) shared: bool,
}

impl Mount {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }
}

impl Status {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self::parse(&text, &map)
    }

    fn parse(text: &str, map: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map_or("", str::trim)
        };
        let first = |name: &str| {
            field(name)
                .split_whitespace()
                .next()
                .unwrap_or("")
                .to_owned()
        };
        let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
        let ranges: Vec<[u64; 3]> = map
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().map(str::parse::<u64>);
                Some([
                    words.next()?.ok()?,
                    words.next()?.ok()?,
                    words.next()?.ok()?,
                ])
            })
            .collect();
        Self {
            uid: first("Uid").parse().unwrap_or(u32::MAX),
            gid: first("Gid").parse().unwrap_or(u32::MAX),
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            inheritable: set("CapInh"),
            bounding: set("CapBnd"),
            ambient: set("CapAmb"),
            no_new_privs: field("NoNewPrivs") == "1",
            seccomp_mode: field("Seccomp").parse().unwrap_or(0),
            seccomp_filters: field("Seccomp_filters").parse().unwrap_or(0),
            root_is: ranges
                .iter()
                .find(|[inside, _, _]| *inside == 0)
                .and_then(|[_, outside, _]| u32::try_from(*outside).ok()),
            mapped: ranges.iter().map(|[_, _, count]| *count).sum(),
        }
    }

    /// Whether capability `number` is effective.
    pub(crate) fn holds(&self, number: u8) -> bool {
        self.effective & 1_u64.checked_shl(u32::from(number)).unwrap_or(0) != 0
    }

    /// Whether capabilities here count in the initial user namespace too.
    pub(crate) fn in_host_users(&self) -> bool {
        self.root_is == Some(0) && self.mapped >= u64::from(u32::MAX)
    }
}

/// The mounts of this process; empty when they cannot be read.
pub(crate) fn mounts() -> Vec<Mount> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

pub(crate) fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut words = left.split(' ').skip(4);
            let at = unescape(words.next()?);
            let mut options: Vec<String> = words.next()?.split(',').map(str::to_owned).collect();
            let shared =
                words.any(|word| word.starts_with("shared:") || word.starts_with("master:"));
            let mut kind_words = right.split(' ');
            let kind = kind_words.next()?.to_owned();
            // A read-only file system is read-only through every one of its mounts.
            if kind_words
                .nth(1)
                .is_some_and(|options| options.split(',').any(|word| word == "ro"))
            {
                options.push("ro".to_owned());
            }
            Some(Mount {
                at,
                kind,
                options,
                shared,
            })
        })
        .collect()
}

/// Undoes the kernel's octal escapes for blanks and backslashes.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (code, letter)| {
            text.replace(code, letter)
        })
}

impl Scene {
    /// The mount that `path` lies on.
    pub(crate) fn mount_of(&self, path: &str) -> Option<&Mount> {
        self.mounts
            .iter()
            .filter(|mount| {
                mount.at == "/"
                    || path == mount.at
                    || path
                        .strip_prefix(&mount.at)
                        .is_some_and(|rest| rest.starts_with('/'))
            })
            // Of mounts on the same place the later one covers the earlier.
            .max_by_key(|mount| mount.at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_become_numbers() {
        let status = Status::parse(
            "Uid:\t1000\t1000\t1000\t1000\nGid:\t7\t7\t7\t7\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nCapEff:\t0000000000200000\n",
            "         0     600000      65536\n",
        );
        assert_eq!(
            (
                status.uid,
                status.gid,
                status.seccomp_mode,
                status.seccomp_filters
            ),
            (1000, 7, 2, 3)
        );
        assert!(status.no_new_privs && status.holds(21) && !status.holds(12));
        assert_eq!((status.root_is, status.mapped), (Some(600_000), 65_536));
        assert!(!status.in_host_users());
    }

    #[test]
    fn a_capability_set_that_cannot_be_read_counts_as_full() {
        assert_eq!(Status::parse("", "").effective, u64::MAX);
    }

    #[test]
    fn mounts_carry_flags_of_mount_and_file_system() {
        let mounts = parse_mounts(concat!(
            "22 1 0:5 / / rw,relatime shared:1 - overlay overlay ro,lowerdir=/x\n",
            "23 22 0:6 / /a\\040b rw,nosuid,noexec - tmpfs tmpfs rw,size=1k\n",
        ));
        assert!(mounts[0].has("ro") && mounts[0].shared && mounts[0].kind == "overlay");
        assert!(mounts[1].at == "/a b" && mounts[1].has("noexec") && !mounts[1].has("ro"));
    }
}
