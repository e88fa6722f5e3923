//! Looks at the network namespace itself: its interfaces, its routes, its sockets, its settings.

use std::fs;

use casemate_core::finding::{Category, EndpointKind, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::guard;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const NET_ADMIN: u8 = 12;

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Egress, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("EG-15", "a default route, and names of the host", gateway)
        .techniques(&["T1046"])
        .tries("/proc/net/route, /proc/net/ipv6_route and /etc/hosts are read for ways to the host")
        .open_means("there is a way out of the namespace, whatever rules say about it")
        .control("/proc/net/dev lists the loopback interface"),
    check("EG-16", "network interfaces", interfaces)
        .techniques(&["T1016"])
        .tries("/proc/net/dev is read for anything but the loopback interface")
        .open_means("the namespace is connected to something")
        .control("/proc/net/dev lists the loopback interface"),
    check("EG-17", "sockets of the host's network namespace", foreign_sockets)
        .techniques(&["T1613"])
        .tries("the namespace's number is compared with the launcher's; /proc/net/unix and /proc/net/tcp are searched for the witness")
        .open_means("the stage shares a network namespace with the host")
        .control("/proc/net/unix shows an own socket"),
    check("EG-18", "changing interfaces and routes", change_network)
        .techniques(&["T1599"])
        .tries("netlink route messages that make an interface and an address; undone when they succeed")
        .open_means("the stage can build itself a network")
        .control("a netlink question about links is answered"),
    check("EG-20", "network settings of the kernel", settings)
        .techniques(&["T1599"])
        .tries("files under /proc/sys/net are opened for writing; nothing is written")
        .open_means("the stage can turn on forwarding or route loopback addresses")
        .control("/dev/null opens for writing"),
    check("EG-21", "abstract Unix sockets of the host", abstract_sockets)
        .techniques(&["T1559"])
        .tries("connect() and sendto() to the witness's abstract names")
        .open_means("services of the host that listen on abstract names can be called")
        .control("connect() to an own abstract name"),
    check("EG-22", "sockets of container engines and the host's services", engine_sockets)
        .techniques(&["T1552.007", "T1611", "AML.T0105"])
        .tries("well-known socket paths and the usual directories are looked at; nothing is connected to")
        .open_means("the stage can ask an engine on the host to run anything as root")
        .control("an own socket file in scratch is recognised"),
    check("EG-27", "remote direct memory access devices", rdma)
        .techniques(&["T1095", "T1011"])
        .tries("/dev/infiniband and /sys/class/infiniband are looked for")
        .open_means("data can leave through a fabric that no network namespace confines")
        .control("/dev/null is found"),
    check("EG-31", "counters of the host as a covert channel", counters)
        .techniques(&["T1205"])
        .tries("files that show host-wide counters are read")
        .open_means("two stages that agree on it can signal to each other at a low rate")
        .control("/proc/self/status is read")
        .surface(),
];

fn links() -> Vec<String> {
    guard::links().unwrap_or_default()
}

fn control_links(trial: &Trial<'_>) {
    let links = links();
    trial.control(
        "/proc/net/dev lists lo",
        if links.iter().any(|link| link == "lo") {
            Ok(links.join(" "))
        } else {
            Err(links.join(" "))
        },
    );
}

fn gateway(trial: &mut Trial<'_>) {
    control_links(trial);
    trial.step("a route that does not go to loopback", |_| {
        let four = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let six = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
        let outward: Vec<&str> = four
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .chain(
                six.lines()
                    .filter_map(|line| line.split_whitespace().last()),
            )
            .filter(|link| *link != "lo")
            .collect();
        if outward.is_empty() {
            Outcome::Blocked(Layer::Netns, "no route but to loopback".to_owned())
        } else {
            Outcome::Open(format!("routes through {}", outward.join(" ")))
        }
    });
    trial.step("names of the host in /etc/hosts", |_| {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let named = [
            "host.docker.internal",
            "host.containers.internal",
            "gateway.docker.internal",
        ]
        .into_iter()
        .find(|name| hosts.contains(name));
        named.map_or_else(
            || Outcome::Blocked(Layer::MissingNode, String::new()),
            |name| Outcome::Open(name.to_owned()),
        )
    });
}

fn interfaces(trial: &mut Trial<'_>) {
    control_links(trial);
    trial.step("interfaces other than lo", |_| {
        let others: Vec<String> = links().into_iter().filter(|link| link != "lo").collect();
        if others.is_empty() {
            Outcome::Blocked(Layer::Netns, "only lo".to_owned())
        } else {
            Outcome::Open(others.join(" "))
        }
    });
}

fn foreign_sockets(trial: &mut Trial<'_>) {
    let own = format!("casemate-probe-own-{}", trial.scene.order.nonce);
    let made = bind_abstract(trial.child, libc::SOCK_STREAM, &own);
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    trial.control(
        "/proc/net/unix shows an own socket",
        match made {
            Ok(_) if table.contains(&own) => Ok(String::new()),
            Ok(_) => Err("it does not".to_owned()),
            Err(errno) => Err(errno.to_string()),
        },
    );
    let order = &trial.scene.order;
    trial.step("the namespace's number", |_| match guard::namespaces() {
        Ok(found) if found.net == order.host.net => {
            Outcome::Open("it is the launcher's".to_owned())
        }
        Ok(found) if found.net == order.expected.net => {
            Outcome::Blocked(Layer::Netns, "it is the stage's own".to_owned())
        }
        Ok(_) => Outcome::Unsure("it is neither the stage's nor the launcher's".to_owned()),
        Err(reason) => Outcome::Unsure(reason.to_string()),
    });
    trial.step("the witness's sockets in /proc/net", |_| {
        let named = order
            .canaries
            .endpoints
            .iter()
            .find(|endpoint| match endpoint.kind {
                EndpointKind::AbstractStream | EndpointKind::AbstractDatagram => {
                    table.contains(&endpoint.address)
                }
                EndpointKind::Tcp | EndpointKind::Udp | EndpointKind::UnixPath => false,
            });
        named.map_or_else(
            || Outcome::Blocked(Layer::Netns, "none".to_owned()),
            |endpoint| Outcome::Open(endpoint.address.clone()),
        )
    });
}

/// One netlink route request and the error number of its answer.
fn ask_route(child: &Child, kind: u16, flags: u16, payload: &[u8]) -> Result<i64, Errno> {
    let socket = primitive::socket(child, libc::AF_NETLINK, libc::SOCK_RAW, 0)?;
    primitive::set_patience(child, socket, 400);
    let size = u32::try_from(payload.len() + 16).unwrap_or(0);
    let mut message = Vec::new();
    message.extend(size.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(payload);
    let mut kernel = Vec::from(primitive::family(libc::AF_NETLINK));
    kernel.extend([0; 10]);
    primitive::send_to(child, socket, &message, 0, Some(&kernel))?;
    let answer = primitive::receive(child, socket)?;
    primitive::close(child, socket);
    let word = |from: usize| {
        answer
            .get(from..from + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_ne_bytes)
    };
    let is_error = answer.get(4..6) == Some(&2_u16.to_ne_bytes());
    match word(16) {
        Some(0) if is_error => Ok(0),
        Some(errno) if is_error => Err(Errno(-errno)),
        Some(_) => Ok(1),
        None => Err(Errno(libc::EBADMSG)),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u16::try_from(value.len() + 4).unwrap_or(0).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn change_network(trial: &mut Trial<'_>) {
    const REQUEST_ACK: u16 = 0x5;
    const MAKE: u16 = 0x5 | 0x600;
    let about_lo = {
        let mut link = vec![0; 4];
        link.extend(1_u32.to_ne_bytes());
        link.extend([0; 8]);
        link
    };
    let answer = ask_route(trial.child, libc::RTM_GETLINK, 1, &about_lo);
    trial.control(
        "a question about link 1",
        answer
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let via = || Via::call(libc::SYS_sendto).capability(NET_ADMIN);
    for kind in ["dummy", "veth"] {
        let name = b"cmprobe0\0";
        let mut payload = vec![0; 16];
        payload.extend(attribute(libc::IFLA_IFNAME, name));
        let info = attribute(libc::IFLA_INFO_KIND, format!("{kind}\0").as_bytes());
        payload.extend(attribute(libc::IFLA_LINKINFO, &info));
        let made = trial.attempt(format_args!("make a {kind} interface"), via(), |child| {
            ask_route(child, libc::RTM_NEWLINK, MAKE, &payload)
        });
        if made.is_ok() {
            let mut gone = vec![0; 16];
            gone.extend(attribute(libc::IFLA_IFNAME, name));
            let _undone = ask_route(trial.child, libc::RTM_DELLINK, REQUEST_ACK, &gone);
        }
    }
    let mut address = vec![2, 32, 0, 0];
    address.extend(1_u32.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        address.extend(attribute(kind, &[127, 99, 98, 97]));
    }
    let made = trial.attempt("add 127.99.98.97 to lo", via(), |child| {
        ask_route(child, libc::RTM_NEWADDR, MAKE, &address)
    });
    if made.is_ok() {
        let _undone = ask_route(trial.child, libc::RTM_DELADDR, REQUEST_ACK, &address);
    }
}

fn settings(trial: &mut Trial<'_>) {
    crate::escape::files::control_null(trial);
    for name in [
        "ipv4/ip_forward",
        "ipv4/conf/all/route_localnet",
        "ipv4/conf/lo/route_localnet",
        "ipv4/ping_group_range",
        "ipv4/ip_unprivileged_port_start",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/all/accept_ra",
        "unix/max_dgram_qlen",
    ] {
        let path = format!("/proc/sys/net/{name}");
        crate::escape::files::try_writing(trial, &path);
    }
}

fn bind_abstract(child: &Child, kind: i32, name: &str) -> Result<i64, Errno> {
    let socket = primitive::socket(child, libc::AF_UNIX, kind, 0)?;
    let address = primitive::unix_address(format!("\0{name}").as_bytes());
    child.call(
        libc::SYS_bind,
        [
            socket.into(),
            address.as_slice().into(),
            primitive::length(&address).into(),
        ],
    )?;
    if kind == libc::SOCK_STREAM {
        child.call(libc::SYS_listen, [socket.into(), 4.into()])?;
    }
    Ok(socket)
}

fn abstract_sockets(trial: &mut Trial<'_>) {
    let own = format!("casemate-probe-own-{}", trial.scene.order.nonce);
    let reached = bind_abstract(trial.child, libc::SOCK_STREAM, &own).and_then(|_| {
        let socket = primitive::socket(trial.child, libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
        primitive::connect(
            trial.child,
            socket,
            &primitive::unix_address(format!("\0{own}").as_bytes()),
        )
    });
    trial.control(
        "connect to an own abstract name",
        reached
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let targets: Vec<_> = trial.scene.order.endpoints(trial.check).cloned().collect();
    if targets.is_empty() {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
    }
    let greeting = trial.greeting();
    for target in targets {
        let kind = match target.kind {
            EndpointKind::AbstractStream => libc::SOCK_STREAM,
            EndpointKind::AbstractDatagram => libc::SOCK_DGRAM,
            EndpointKind::Tcp | EndpointKind::Udp | EndpointKind::UnixPath => continue,
        };
        if !trial.may_send() {
            trial.step(&target.address, |_| {
                Outcome::Unsure("the budget of sends is used up".to_owned())
            });
            continue;
        }
        let address = primitive::unix_address(format!("\0{}", target.address).as_bytes());
        trial.step(format_args!("@{}", target.address), |child| {
            let via = Via::call(libc::SYS_connect).network();
            let reached = primitive::socket(child, libc::AF_UNIX, kind, 0).and_then(|socket| {
                primitive::connect(child, socket, &address)?;
                primitive::send_to(child, socket, &greeting, libc::MSG_NOSIGNAL, None)
            });
            match reached {
                Ok(_) => Outcome::Open("the witness took it".to_owned()),
                Err(errno) => Outcome::Refused(errno, via),
            }
        });
    }
}

fn engine_sockets(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-own.sock",
        trial.scene.order.grants.scratch
    );
    let made =
        primitive::socket(trial.child, libc::AF_UNIX, libc::SOCK_STREAM, 0).and_then(|socket| {
            let address = primitive::unix_address(own.as_bytes());
            trial.child.call(
                libc::SYS_bind,
                [
                    socket.into(),
                    address.as_slice().into(),
                    primitive::length(&address).into(),
                ],
            )
        });
    let seen = is_socket(&own);
    primitive::unlink(trial.child, &own);
    // Where Landlock forbids socket files, a name that is no socket is at least told apart.
    trial.control(
        "an own socket file is recognised",
        match made {
            Ok(_) if seen => Ok(String::new()),
            Ok(_) => Err("it is not".to_owned()),
            Err(errno) if !is_socket("/") => {
                Ok(format!("bind gave {errno}; a directory is no socket"))
            }
            Err(errno) => Err(errno.to_string()),
        },
    );
    const KNOWN: &[&str] = &[
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/podman/podman.sock",
        "/run/buildkit/buildkitd.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/run/systemd/resolve/io.systemd.Resolve",
        "/run/nscd/socket",
        "/run/casemate/casemated.sock",
    ];
    trial.step("well-known socket paths", |_| {
        let found: Vec<&str> = KNOWN
            .iter()
            .copied()
            .filter(|path| is_socket(path))
            .collect();
        found_or_not(&found.join(" "))
    });
    trial.step("socket files in the usual directories", |_| {
        let mut found = Vec::new();
        for directory in [
            "/", "/run", "/var/run", "/tmp", "/dev", "/mnt", "/host", "/srv",
        ] {
            for name in primitive::names(directory).into_iter().take(500) {
                let path = format!("{}/{name}", directory.trim_end_matches('/'));
                if is_socket(&path) {
                    found.push(path);
                }
            }
        }
        found_or_not(&found.join(" "))
    });
}

fn found_or_not(found: &str) -> Outcome {
    if found.is_empty() {
        Outcome::Blocked(Layer::MissingNode, String::new())
    } else {
        Outcome::Open(found.to_owned())
    }
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn rdma(trial: &mut Trial<'_>) {
    let null = fs::metadata("/dev/null")
        .map(|_| String::new())
        .map_err(|error| error.to_string());
    trial.control("/dev/null is found", null);
    for path in ["/dev/infiniband", "/dev/gdrdrv", "/sys/class/infiniband"] {
        trial.step(path, |_| match fs::symlink_metadata(path) {
            Ok(_) => Outcome::Open("it is there".to_owned()),
            Err(_) => Outcome::Blocked(Layer::MissingNode, String::new()),
        });
    }
}

fn counters(trial: &mut Trial<'_>) {
    let own = primitive::read_file(trial.child, "/proc/self/status", 64);
    trial.control(
        "/proc/self/status",
        own.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    for path in [
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/vmstat",
        "/proc/stat",
        "/proc/diskstats",
        "/proc/sys/fs/file-nr",
        "/proc/sys/fs/inode-nr",
        "/proc/pressure/cpu",
    ] {
        let via = Via::call(libc::SYS_openat).path(path, libc::R_OK);
        trial.step(path, |child| match primitive::read_file(child, path, 64) {
            Ok(content) if content.is_empty() => {
                Outcome::Blocked(Layer::MountFlag, "masked".to_owned())
            }
            Ok(_) => Outcome::Open("readable".to_owned()),
            Err(errno) => Outcome::Refused(errno, via),
        });
    }
}
