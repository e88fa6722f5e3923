//! Compose services, and `docker run` lines in their form, as workloads.

use crate::estate::Document;
use crate::workload::Workload;

/// The workloads of a compose file.
pub(crate) fn workloads<'tree>(_document: &'tree Document, _into: &mut Vec<Workload<'tree>>) {}
