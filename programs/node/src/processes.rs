//! Telling one process from another that got the same number later.

use std::fs;

/// When a process was started, in clock ticks since boot; nothing when there is no such process, or only
/// what is left of it until its parent looks.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_ticks(&stat)
}

/// This boot's id; empty when the kernel shows none.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Field 22 of a `stat` file. The second field is a name in parentheses that the process chooses, so
/// everything is counted from the last closing one.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_cannot_fake_its_start_by_its_name() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("77 (x) S 1 1) S {}", fields.join(" "));
        assert_eq!(parse_start_ticks(&stat), Some(22));
    }

    #[test]
    fn a_dead_process_is_no_process() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        assert_eq!(
            parse_start_ticks(&format!("77 (x) Z {}", fields.join(" "))),
            None
        );
    }

    #[test]
    fn the_own_start_is_known() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_ticks(own).is_some());
        assert!(!boot_id().is_empty());
    }
}
