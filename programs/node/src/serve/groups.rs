//! The group whose members may use the API, from the system's own files.

use std::fs;
use std::io;

/// A group and its members by user id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) gid: u32,
    members: Vec<u32>,
}

/// Why a group cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindGroupError {
    #[error("cannot read `{path}`")]
    Read {
        path: &'static str,
        source: io::Error,
    },
    #[error("there is no group `{0}`")]
    Absent(String),
}

impl Group {
    /// Looks `name` up in `/etc/group` and its members in `/etc/passwd`.
    pub(crate) fn find(name: &str) -> Result<Self, FindGroupError> {
        let read = |path: &'static str| {
            fs::read_to_string(path).map_err(|source| FindGroupError::Read { path, source })
        };
        Self::parse(name, &read("/etc/group")?, &read("/etc/passwd")?)
            .ok_or_else(|| FindGroupError::Absent(name.to_owned()))
    }

    fn parse(name: &str, groups: &str, users: &str) -> Option<Self> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let line = groups
            .lines()
            .map(fields)
            .find(|line| line.first().is_some_and(|n| n == name))?;
        let gid = line.get(2)?.parse().ok()?;
        let named: Vec<&str> = line.get(3).map(|names| names.split(',').collect())?;
        let members = users
            .lines()
            .map(fields)
            .filter(|user| {
                user.first()
                    .is_some_and(|user| named.contains(&user.as_str()))
            })
            .filter_map(|user| user.get(2)?.parse().ok())
            .collect();
        Some(Self { gid, members })
    }

    /// Whether a user with this primary group may use the API.
    pub(crate) fn has(&self, uid: u32, gid: u32) -> bool {
        gid == self.gid || self.members.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\ncasemate:x:990:ann,bob\nempty:x:991:\n";
    const USERS: &str =
        "ann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\neve:x:1002:1002::/:\n";

    #[test]
    fn members_are_in_and_others_are_not() {
        let group = Group::parse("casemate", GROUPS, USERS).unwrap();
        assert!(group.has(1000, 1000) && group.has(1001, 1001) && group.has(1002, 990));
        assert!(!group.has(1002, 1002));
    }

    #[test]
    fn an_absent_group_is_no_group() {
        assert_eq!(Group::parse("case", GROUPS, USERS), None);
    }

    #[test]
    fn an_empty_group_has_nobody() {
        assert!(
            !Group::parse("empty", GROUPS, USERS)
                .unwrap()
                .has(1000, 1000)
        );
    }
}
