//! Whether the numbers that the node runs its parts under are anybody's on this host.
//!
//! Whoever is delegated a number in `/etc/subuid` can become it, and so read and end the part of the node
//! that runs under it: the node does not start beside such a delegation.

use std::fmt;
use std::ops::RangeInclusive;

use casemate_sandbox::plan::{RANGE_BASE, RANGE_LENGTH};

use super::{GATES, ISSUER, MESH_GID, MOST, VAULTS};

/// A line of one of the system's files that gives a number of ours to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    file: &'static str,
    line: usize,
    owner: String,
    theirs: RangeInclusive<u64>,
    ours: RangeInclusive<u64>,
}

impl std::error::Error for Taken {}

impl fmt::Display for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            owner,
            theirs,
            ours,
        } = self;
        let words = |range: &RangeInclusive<u64>| {
            if range.start() == range.end() {
                range.start().to_string()
            } else {
                format!("{} to {}", range.start(), range.end())
            }
        };
        write!(
            formatter,
            "`{file}` line {line} gives {} to `{owner}`, and casemated runs its parts under {}; give `{owner}` other numbers",
            words(theirs),
            words(ours)
        )
    }
}

/// The files that say whose a number is, as text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Files<'a> {
    pub(crate) passwd: &'a str,
    pub(crate) group: &'a str,
    pub(crate) subuid: &'a str,
    pub(crate) subgid: &'a str,
}

/// The first line that gives one of our numbers to somebody, if there is one.
pub(crate) fn taken(files: Files<'_>) -> Option<Taken> {
    let single = |file, text, column| scan(file, text, move |fields| one(fields, column));
    single("/etc/passwd", files.passwd, 2)
        // A user's primary group may have no line of its own.
        .or_else(|| single("/etc/passwd", files.passwd, 3))
        .or_else(|| single("/etc/group", files.group, 2))
        .or_else(|| scan("/etc/subuid", files.subuid, delegated))
        .or_else(|| scan("/etc/subgid", files.subgid, delegated))
}

/// Every number that a part of the node may run under.
fn ours() -> [RangeInclusive<u64>; 4] {
    let from = |first: u32, count: u64| {
        let first = u64::from(first);
        first..=first + count - 1
    };
    let slots = u64::from(MOST);
    [
        from(MESH_GID, u64::from(ISSUER - MESH_GID) + 1),
        from(GATES, slots),
        from(VAULTS, slots),
        from(RANGE_BASE, slots * u64::from(RANGE_LENGTH)),
    ]
}

fn scan(
    file: &'static str,
    text: &str,
    range: impl Fn(&[&str]) -> Option<RangeInclusive<u64>>,
) -> Option<Taken> {
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        // Comments and lines that mean nothing give nobody anything.
        let (Some(owner), Some(theirs)) = (fields.first(), range(&fields)) else {
            continue;
        };
        let overlaps = |ours: &RangeInclusive<u64>| {
            theirs.start() <= ours.end() && ours.start() <= theirs.end()
        };
        if let Some(ours) = ours().into_iter().find(overlaps) {
            return Some(Taken {
                file,
                line: index + 1,
                owner: (*owner).to_owned(),
                theirs,
                ours,
            });
        }
    }
    None
}

/// `name:x:NUMBER:...`
fn one(fields: &[&str], column: usize) -> Option<RangeInclusive<u64>> {
    let number = fields.get(column)?.parse().ok()?;
    Some(number..=number)
}

/// `name:FIRST:COUNT`
fn delegated(fields: &[&str]) -> Option<RangeInclusive<u64>> {
    let first: u64 = fields.get(1)?.parse().ok()?;
    let count: u64 = fields.get(2)?.parse().ok()?;
    Some(first..=first.saturating_add(count.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_host_with_few_users_gives_nothing_of_ours_away() {
        let files = Files {
            passwd: "root:x:0:0::/:\nann:x:1000:1000::/:\nnobody:x:65534:65534::/:\n",
            group: "root:x:0:\nann:x:1000:\n",
            subuid: "ann:100000:65536\nbob:165536:65536\n",
            subgid: "ann:100000:65536\n",
        };
        assert_eq!(taken(files), None);
        assert_eq!(taken(Files::default()), None);
    }

    #[test]
    fn the_seventh_users_delegation_is_found_with_its_file_and_line() {
        // What `useradd` gives to the users of a host in order.
        let text: String = (0..7)
            .map(|user| format!("user{}:{}:65536\n", user + 1, 100_000 + 65_536 * user))
            .collect();
        let found = taken(Files {
            subuid: &text,
            ..Files::default()
        })
        .unwrap();
        let said = found.to_string();
        assert!(said.starts_with("`/etc/subuid` line 7 gives 493216 to 558751 to `user7`"));
        assert!(said.contains("520000 to 520001"), "{said}");
        let six: String = text
            .lines()
            .take(6)
            .map(|line| format!("{line}\n"))
            .collect();
        let (subuid, subgid) = (six.as_str(), text.as_str());
        let found = taken(Files {
            subuid,
            subgid,
            ..Files::default()
        });
        assert_eq!(found.unwrap().file, "/etc/subgid");
    }

    #[test]
    fn every_number_of_ours_is_guarded_up_to_its_last() {
        let last = u64::from(RANGE_BASE) + u64::from(MOST) * u64::from(RANGE_LENGTH) - 1;
        for (number, ours) in [
            (519_999, false),
            (520_000, true),
            (520_001, true),
            (521_499, true),
            (522_000, true),
            (522_500, false),
            (600_000, true),
            (last, true),
            (last + 1, false),
        ] {
            let passwd = format!("# users\neve:x:{number}:5::/:\n");
            let group = format!("eve:x:{number}:\n");
            let subgid = format!("eve:{number}:1\n");
            let primary = format!("eve:x:5:{number}::/:\n");
            for files in [
                Files {
                    passwd: &passwd,
                    ..Files::default()
                },
                Files {
                    passwd: &primary,
                    ..Files::default()
                },
                Files {
                    group: &group,
                    ..Files::default()
                },
                Files {
                    subgid: &subgid,
                    ..Files::default()
                },
            ] {
                assert_eq!(taken(files).is_some(), ours, "{number}");
            }
        }
    }

    #[test]
    fn lines_that_give_nothing_are_passed_over() {
        let files = Files {
            subuid: "# 600000\nann:600000:0\nbob:x:y\n:\n\n",
            passwd: "+::::::\n",
            ..Files::default()
        };
        assert_eq!(taken(files), None);
    }
}
