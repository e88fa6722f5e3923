//! Limits of a stage, as the runtime sets them and as the first process finds them.

use std::collections::BTreeMap;

use casemate_core::confinement::Limit;

use super::{MOST_SLOTS, PlanStageError, StageRequest};
use crate::oci::ResourceLimit;

pub(super) fn check(request: &StageRequest) -> Result<(), PlanStageError> {
    let id = &request.id;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let starts = id
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    // A host name has at most 64 bytes.
    if !starts || id.len() > 63 || !id.bytes().all(legal) {
        return Err(PlanStageError::Id(id.clone()));
    }
    if request.slot >= MOST_SLOTS {
        return Err(PlanStageError::Slot(request.slot));
    }
    if request.serves < 1024 {
        return Err(PlanStageError::Port(request.serves));
    }
    if request.host.swaps && !request.host.swap_limit {
        return Err(PlanStageError::Swap);
    }
    let limits = &request.limits;
    let least = [
        ("memory", limits.memory_bytes, 16 << 20),
        ("thousandths of a processor", limits.milli_cpus, 10),
        ("processes", limits.processes, 16),
        ("open files", limits.open_files, 64),
        ("scratch space", limits.scratch_bytes, 64 << 10),
        ("shared memory", limits.shared_memory_bytes, 64 << 10),
    ];
    for (what, value, least) in least {
        if value < least {
            return Err(PlanStageError::TooLittle { what, value, least });
        }
    }
    Ok(())
}

/// Each limit: the runtime's name, the kernel's name in `/proc/self/limits`, the value.
fn table(request: &StageRequest) -> [(&'static str, &'static str, u64); 7] {
    let (limits, host) = (&request.limits, &request.host);
    let at_most = |value: u64, most: Option<u64>| most.map_or(value, |most| value.min(most));
    let processes = at_most(limits.processes, host.most_processes);
    let locked = at_most(limits.memory_bytes, host.most_locked_bytes);
    [
        ("RLIMIT_CORE", "Max core file size", 0),
        (
            "RLIMIT_NOFILE",
            "Max open files",
            at_most(limits.open_files, host.most_open_files),
        ),
        ("RLIMIT_NPROC", "Max processes", processes),
        ("RLIMIT_MEMLOCK", "Max locked memory", locked),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 0),
        ("RLIMIT_NICE", "Max nice priority", 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0),
    ]
}

pub(super) fn resource_limits(request: &StageRequest) -> Vec<ResourceLimit> {
    let limit = |(kind, _, value): (&str, &str, u64)| ResourceLimit {
        kind: kind.to_owned(),
        hard: value,
        soft: value,
    };
    table(request).into_iter().map(limit).collect()
}

pub(super) fn expected(request: &StageRequest) -> BTreeMap<String, Limit> {
    let limit = |(_, name, value): (&str, &str, u64)| {
        (
            name.to_owned(),
            Limit {
                soft: Some(value),
                hard: Some(value),
            },
        )
    };
    table(request).into_iter().map(limit).collect()
}
