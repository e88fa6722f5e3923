//! Turns a declared stage into a confined process.
//!
//! [`plan::plan`] is pure: a [`plan::StageRequest`] in, out comes everything that the OCI runtime
//! and the first process of the stage will be told, and its digest. The rest executes it:
//! [`image`] unpacks what may be hostile, [`bundle`] lays out what the runtime reads, [`runtime`]
//! drives the installed `runc`, [`stage`] walks a stage from created over confined to serving, and
//! [`cleanup`] removes what a killed launcher left.
//!
//! A launch, in short:
//!
//! ```no_run
//! # use std::path::Path;
//! # fn launch(request: &casemate_sandbox::plan::StageRequest) -> Result<(), Box<dyn std::error::Error>> {
//! use casemate_sandbox::{bundle::Bundle, plan, runtime::{Floor, Runc}, stage};
//!
//! let (runc, warnings) = Runc::find(None, Path::new("/run/casemate/runc"), Floor::Kept)?;
//! casemate_linux::namespace::create_network(&request.network)?;
//! let plan = plan::plan(request)?;
//! let bundle = Bundle::prepare(&plan, Path::new("/run/casemate/bundles/chat.infer"))?;
//! let log = std::fs::File::create("/run/casemate/infer.log")?;
//! let created = stage::create(&runc, &plan, bundle, log.into())?;
//! let confined = created.confine()?; // the first process has compared plan and sandbox
//! let (_probe, _channel) = confined.probe(std::fs::File::open("/dev/null")?.into())?;
//! let serving = confined.serve()?; // Landlock and the second filter are on
//! # drop((warnings, serving)); Ok(())
//! # }
//! ```

pub mod bundle;
pub mod cleanup;
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod image;
pub mod oci;
pub mod plan;
pub mod runtime;
pub mod stage;
