//! Which runc it is, and which known holes that one has.
//!
//! The floor is 1.1.12: an older one is refused, because a stage as confined as ours could leave through
//! what was mended there. A distribution that mends an older version under that version's number is known by
//! its package ([`HOLES`], `backports`). Holes that a stage of ours does not reach are warned of.

use std::fmt;

/// A version of runc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    number: (u32, u32, u32),
    /// Of a candidate; a released version counts as later than any.
    candidate: Option<u32>,
    /// What a distribution calls its build.
    package: Option<String>,
}

/// What becomes of a runtime below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// It is refused.
    Kept,
    /// It is used, and what it would be refused for is warned of. A person takes that upon them.
    Waived,
}

/// A hole that the version number alone says is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Its number.
    pub cve: &'static str,
    /// What it lets a container do.
    pub what: &'static str,
    /// What to look for.
    pub advice: String,
}

/// A known hole.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) cve: &'static str,
    pub(super) what: &'static str,
    /// The first version without it on each branch: major, minor, patch, candidate.
    fixed: &'static [(u32, u32, u32, Option<u32>)],
    /// Distribution builds that closed it on an older version: a word of the package's name, and the
    /// least number that follows it.
    backports: &'static [(&'static str, (u32, u32, u32), u32)],
    /// Whether a stage as confined as ours could leave through it.
    refused: bool,
    pub(super) needed: &'static str,
}

impl Version {
    /// Reads the text of `runc --version`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("runc version "))?;
        let commit = text
            .lines()
            .find_map(|line| line.strip_prefix("commit: "))
            .unwrap_or("");
        let word = line.split_ascii_whitespace().next()?;
        let (number, rest) = match word.find(['-', '+', '~']) {
            Some(at) => word.split_at_checked(at)?,
            None => (word, ""),
        };
        let mut parts = number.split('.').map(str::parse::<u32>);
        let number = (
            parts.next()?.ok()?,
            parts.next()?.ok()?,
            parts.next()?.ok()?,
        );
        let candidate = rest
            .trim_start_matches(['-', '~'])
            .strip_prefix("rc")
            .and_then(|rest| leading_number(rest.trim_start_matches('.')));
        let distributed = ["deb", "ubuntu", ".el", ".fc", "+ds"];
        let package = [commit, line]
            .into_iter()
            .find(|text| distributed.iter().any(|mark| text.contains(mark)))
            .map(|text| text.trim().to_owned());
        Some(Self {
            number,
            candidate,
            package,
        })
    }

    /// Whether it has a hole that is refused where the floor is kept.
    #[must_use]
    pub fn below_floor(&self) -> bool {
        self.judge(Floor::Kept).is_err()
    }

    /// The holes that this version may have, or the one for which it is refused.
    pub(super) fn judge(&self, floor: Floor) -> Result<Vec<Warning>, &'static Hole> {
        let mut warnings = Vec::new();
        for hole in HOLES.iter().filter(|hole| !self.closed(hole)) {
            if hole.refused && floor == Floor::Kept {
                return Err(hole);
            }
            let advice = match &self.package {
                Some(package) => format!(
                    "{package} is a distribution's build: its changelog says whether it has the fix; \
                     upstream fixed it in {}",
                    hole.needed
                ),
                None => format!("install {}", hole.needed),
            };
            warnings.push(Warning {
                cve: hole.cve,
                what: hole.what,
                advice,
            });
        }
        Ok(warnings)
    }

    fn closed(&self, hole: &Hole) -> bool {
        let key = |candidate: Option<u32>| candidate.unwrap_or(u32::MAX);
        let own = (self.number, key(self.candidate));
        let branch = (self.number.0, self.number.1);
        let newest = hole
            .fixed
            .iter()
            .map(|(major, minor, ..)| (*major, *minor))
            .max();
        let upstream = hole.fixed.iter().any(|(major, minor, patch, candidate)| {
            branch == (*major, *minor) && own >= ((*major, *minor, *patch), key(*candidate))
        });
        let later = newest.is_some_and(|newest| branch > newest);
        upstream || later || self.backported(hole)
    }

    fn backported(&self, hole: &Hole) -> bool {
        let Some(package) = &self.package else {
            return false;
        };
        hole.backports.iter().any(|(mark, number, least)| {
            let revision = package
                .split_once(mark)
                .and_then(|(_, rest)| leading_number(rest));
            self.number == *number && revision.is_some_and(|revision| revision >= *least)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        write!(formatter, "{major}.{minor}.{patch}")?;
        if let Some(candidate) = self.candidate {
            write!(formatter, "-rc.{candidate}")?;
        }
        match &self.package {
            Some(package) => write!(formatter, " ({package})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.cve, self.what, self.advice)
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

const HOLES: &[Hole] = &[
    Hole {
        cve: "age",
        what: "it does not know the parts of the specification that are used",
        fixed: &[(1, 1, 0, None)],
        backports: &[],
        refused: true,
        needed: "runc 1.1.12",
    },
    Hole {
        cve: "CVE-2024-21626",
        what: "a container reaches the host's files through a leaked working directory",
        fixed: &[(1, 1, 12, None)],
        backports: &[("deb12u", (1, 1, 5), 1)],
        refused: true,
        needed: "runc 1.1.12",
    },
    Hole {
        cve: "CVE-2024-45310",
        what: "a container makes empty files on the host through a shared volume",
        fixed: &[(1, 1, 14, None), (1, 2, 0, Some(3))],
        backports: &[],
        refused: false,
        needed: "runc 1.1.14",
    },
    Hole {
        cve: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        what: "covers of paths and writes to /proc are led astray by races with the container's files",
        fixed: &[(1, 2, 8, None), (1, 3, 3, None), (1, 4, 0, Some(3))],
        backports: &[],
        refused: false,
        needed: "runc 1.2.8, 1.3.3 or 1.4.0",
    },
    Hole {
        cve: "CVE-2026-41579",
        what: "an image's link at /dev leads the runtime elsewhere (unpacked images have a directory there)",
        fixed: &[(1, 3, 6, None), (1, 4, 3, None), (1, 5, 0, Some(3))],
        backports: &[],
        refused: false,
        needed: "runc 1.3.6, 1.4.3 or 1.5.0",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cves(text: &str) -> Result<Vec<&'static str>, &'static str> {
        let version = Version::parse(text).unwrap();
        let warnings = version.judge(Floor::Kept).map_err(|hole| hole.cve)?;
        Ok(warnings.into_iter().map(|warning| warning.cve).collect())
    }

    #[test]
    fn a_distributions_build_with_the_known_fix_is_used_with_warnings() {
        let text = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n";
        assert_eq!(cves(text).unwrap().len(), 3);
        let unfixed = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\n";
        assert_eq!(cves(unfixed), Err("CVE-2024-21626"));
    }

    #[test]
    fn an_upstream_build_is_judged_by_its_number_and_branch() {
        assert_eq!(cves("runc version 1.1.5"), Err("CVE-2024-21626"));
        assert_eq!(cves("runc version 1.0.3"), Err("age"));
        assert_eq!(cves("runc version 1.2.8").unwrap(), ["CVE-2026-41579"]);
        assert_eq!(cves("runc version 1.3.6").unwrap(), Vec::<&str>::new());
        assert_eq!(cves("runc version 1.5.0").unwrap(), Vec::<&str>::new());
        assert_eq!(cves("runc version 1.5.0-rc.2").unwrap(), ["CVE-2026-41579"]);
        assert_eq!(cves("runc version 2.0.0").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn a_waived_floor_turns_every_refusal_into_a_warning_and_is_told_apart() {
        for (text, least) in [
            ("runc version 1.0.3", "age"),
            ("runc version 1.1.5", "CVE-2024-21626"),
        ] {
            let version = Version::parse(text).unwrap();
            assert!(version.below_floor());
            let warnings = version.judge(Floor::Waived).unwrap();
            assert!(
                warnings.iter().any(|warning| warning.cve == least),
                "{text}"
            );
        }
        assert!(!Version::parse("runc version 1.1.12").unwrap().below_floor());
    }

    #[test]
    fn a_backport_counts_for_its_own_version_only() {
        let other = "runc version 1.1.4+ds1\ncommit: 1.1.4+ds1-1+deb12u9\n";
        assert_eq!(cves(other), Err("CVE-2024-21626"));
        // A build that only says so in its version line.
        assert!(cves("runc version 1.1.5+ds1-1+deb12u1").is_ok());
    }

    #[test]
    fn a_text_without_a_version_is_not_understood() {
        assert_eq!(Version::parse("podman version 4"), None);
        assert_eq!(Version::parse("runc version one"), None);
    }
}
