//! Kinds that describe a container in words of their own.

use crate::workload::{Resource, Workload};

/// The workloads of a kind that is known here; nothing for any other.
pub(crate) fn workloads<'tree>(_resource: &Resource<'tree>, _into: &mut Vec<Workload<'tree>>) {}
