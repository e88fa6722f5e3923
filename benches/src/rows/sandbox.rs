//! From asking for a sandbox to the end of the program in it: ours beside plain runc.
//!
//! Both run the same static program that does nothing. Ours also lays out the root, compares the
//! sandbox with its plan, applies Landlock and the second filter. The peer is `runc run` with the
//! configuration that `runc spec` writes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use casemate_linux::namespace;
use casemate_sandbox::bundle::Bundle;
use casemate_sandbox::image::{Bounds, unpack};
use casemate_sandbox::plan::{HostFacts, RootFileSystem, StageLimits, StageRequest, plan};
use casemate_sandbox::runtime::{Floor, Runc};
use casemate_sandbox::stage;
use casemate_testkit::programs::{output, runc};
use casemate_testkit::{Programs, oci};
use serde_json::{Value, json};

use crate::measure::{alternate, seconds};
use crate::report::Line;

/// Milliseconds to start, run nothing, and take down.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    // Mounts belong to a thread of their own, whose namespace ends with it.
    std::thread::spawn(on_own_thread)
        .join()
        .map_err(|_| anyhow::anyhow!("the bench panicked"))?
}

fn on_own_thread() -> anyhow::Result<Vec<Line>> {
    namespace::isolate_mounts()?;
    let directory = tempfile::Builder::new()
        .prefix("casemate-bench-")
        .tempdir_in("/var/tmp")?;
    let path = |name: &str| directory.path().join(name);
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o711));
    open(directory.path())?;
    let programs = Programs::locate()?;
    fs::create_dir(path("programs"))?;
    fs::set_permissions(path("programs"), fs::Permissions::from_mode(0o755))?;
    for (program, name) in [("casemate-init", "init"), ("casemate-probe", "probe")] {
        fs::copy(programs.path(program), path("programs").join(name))?;
    }
    oci::pack_program(&programs.path("attempt"), "attempt", &path("image"))?;
    fs::create_dir(path("store"))?;
    open(&path("store"))?;
    let image = unpack(&path("image"), &path("store"), &Bounds::default())?;
    namespace::create_network(&path("network"))?;
    let (runtime, _) = Runc::find(None, &path("runc"), Floor::Kept)?;
    let request = StageRequest {
        id: format!("bench-{}", std::process::id()),
        slot: 901,
        root: RootFileSystem::Image(image),
        kept: Vec::new(),
        command: vec!["/attempt".to_owned(), "nothing".to_owned()],
        environment: Vec::new(),
        directory: None,
        models: Vec::new(),
        programs: path("programs"),
        network: path("network"),
        serves: 8000,
        flows: Vec::new(),
        writable: Vec::new(),
        limits: StageLimits::default(),
        host: HostFacts::detect()?,
    };
    let ours = || {
        seconds(|| {
            let plan = plan(&request)?;
            let bundle = Bundle::prepare(&plan, &path("bundle"))?;
            let null = fs::File::options().write(true).open("/dev/null")?;
            let serving = stage::create(&runtime, &plan, bundle, null.into())?
                .confine()?
                .serve()?;
            let ended = serving.ended()?;
            casemate_linux::process::readable_within(
                std::os::fd::AsFd::as_fd(&ended),
                Duration::from_secs(10),
            )?;
            serving.stop(Duration::ZERO)?;
            Ok(())
        })
        .map(|seconds| seconds * 1000.0)
    };
    let bundle = path("plain");
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::copy(programs.path("attempt"), bundle.join("rootfs/attempt"))?;
    output(Command::new(runc()?).arg("spec").current_dir(&bundle))?;
    let text = fs::read_to_string(bundle.join("config.json"))?;
    let mut config: Value = serde_json::from_str(&text)?;
    let process = config.get_mut("process").context("process")?;
    if let Some(process) = process.as_object_mut() {
        process.insert("terminal".to_owned(), false.into());
        process.insert("args".to_owned(), json!(["/attempt", "nothing"]));
    }
    fs::write(bundle.join("config.json"), config.to_string())?;
    let theirs = || {
        seconds(|| {
            let mut run = Command::new(runc()?);
            run.arg("--root")
                .arg(path("runc-plain"))
                .args(["run", "--bundle"]);
            let ran = output(run.arg(&bundle).arg(format!("{}-plain", request.id)))?;
            ensure!(ran.trim() == "worked", "plain runc: {ran}");
            Ok(())
        })
        .map(|seconds| seconds * 1000.0)
    };
    let measured = alternate(15, ours, theirs);
    namespace::remove_network(&path("network"))?;
    let (mine, peer) = measured?;
    Ok(vec![Line::added(
        "start a sandbox, run a program that does nothing, take it down",
        "ms",
        mine,
        "plain runc",
        peer,
        20.0,
    )])
}
