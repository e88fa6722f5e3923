//! What is wrong with a deployment, before it runs.
//!
//! Documents go in (manifests, compose files, `docker run` lines, image and toolkit configuration, model
//! folders), findings come out. Nothing here opens a socket, and nothing runs what it reads.
//!
//! Read in this order: [`node`] (a document as a tree in which every value knows its place), [`yaml`] (text to
//! trees), [`estate`] (everything that was read together: workloads, services, policies, roles), [`rule`]
//! (what a rule is and how it reports), [`catalogue`] (every rule there is), [`scan`] (the whole way), [`report`]
//! (what is said of it) and [`fix`] (what is changed).

pub mod catalogue;
pub mod cluster;
mod compose;
pub mod diff;
mod environment_file;
pub mod estate;
pub mod explain;
pub mod fingerprint;
pub mod fix;
pub mod fuzz;
pub mod input;
mod kubernetes;
pub mod model;
pub mod network;
pub mod node;
pub mod place;
pub mod report;
pub mod rule;
mod rules;
pub mod scan;
mod secrets;
mod server;
mod shell;
pub mod suppress;
pub mod toolkit;
pub mod workload;
pub mod yaml;
