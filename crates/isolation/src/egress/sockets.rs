//! Tries kinds of sockets that go around TCP and UDP: raw, packet, netlink, exotic families.

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const NET_RAW: u8 = 13;

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Egress, id, title, try_it)
        .control("socket(AF_UNIX) is answered with a descriptor")
}

pub(crate) const CHECKS: &[Check] = &[
    check("EG-04", "ICMP sockets", icmp)
        .techniques(&["T1095", "AML.T0025"])
        .tries("socket() for raw ICMP and ICMPv6, and for ICMP datagrams (ping)")
        .open_means("data can leave in the payload of echo requests wherever a route exists")
        .surface(),
    check("EG-05", "raw IP sockets", raw_ip)
        .techniques(&["T1095"])
        .tries("socket(SOCK_RAW, IPPROTO_RAW) for IPv4 and IPv6")
        .open_means("packets can be made by hand, around rules for TCP and UDP")
        .surface(),
    check("EG-06", "packet sockets", packet)
        .techniques(&["T1040", "T1095"])
        .tries("socket(AF_PACKET) raw and cooked")
        .open_means("the stage can read and write every frame of its network namespace")
        .surface(),
    check("EG-07", "XDP sockets", xdp)
        .techniques(&["T1095"])
        .tries("socket(AF_XDP)")
        .open_means("frames can be sent around the whole network stack")
        .surface(),
    check("EG-33", "other protocols over IP", protocols)
        .techniques(&["T1095"])
        .tries("socket() for SCTP, DCCP, UDP-Lite and multipath TCP")
        .open_means("connections are possible that rules for TCP do not see")
        .surface(),
    check("EG-09", "exotic address families", families)
        .techniques(&["T1095", "T1068"])
        .tries("socket() for every family from 0 to 46 but Unix, IPv4, IPv6, netlink, vsock and the crypto one")
        .open_means("kernel code that no model server needs can be loaded and attacked")
        .surface(),
    check("EG-10", "the kernel's crypto sockets", crypto)
        .techniques(&["T1068", "AML.T0107"])
        .tries("socket(AF_ALG) and bind() to an authenticated cipher")
        .open_means("the primitive of page cache writes such as CVE-2026-31431 is reachable")
        .surface(),
    check("EG-11", "sockets to the hypervisor", vsock)
        .techniques(&["T1095"])
        .tries("socket(AF_VSOCK), which no network namespace confines; it is never connected")
        .open_means("the stage can talk to the machine's hypervisor and to its siblings")
        .surface(),
    check("EG-19", "netlink protocols", netlink)
        .techniques(&["T1068"])
        .tries("socket(AF_NETLINK) with every protocol from 1 to 22")
        .open_means("IPsec, netfilter, audit and generic netlink of the kernel can be attacked")
        .surface(),
];

fn control(trial: &Trial<'_>) {
    let answer = primitive::socket(trial.child, libc::AF_UNIX, libc::SOCK_STREAM, 0);
    trial.control(
        "socket(AF_UNIX, SOCK_STREAM)",
        answer
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
}

/// Tries to make a socket; a filter is told from the kernel by asking for an impossible type.
fn make(
    trial: &mut Trial<'_>,
    name: &str,
    domain: i32,
    kind: i32,
    protocol: i32,
    capability: Option<u8>,
) {
    let twin = primitive::socket_twin(trial.child, domain);
    let mut via = Via::call(libc::SYS_socket)
        .network()
        .twin(twin)
        .kernel(&[libc::EINVAL]);
    if let Some(capability) = capability {
        via = via.capability(capability);
    }
    if let Ok(socket) = trial.attempt(name, via, |child| {
        primitive::socket(child, domain, kind, protocol)
    }) {
        primitive::close(trial.child, socket);
    }
}

fn icmp(trial: &mut Trial<'_>) {
    control(trial);
    make(
        trial,
        "raw ICMP",
        libc::AF_INET,
        libc::SOCK_RAW,
        libc::IPPROTO_ICMP,
        Some(NET_RAW),
    );
    make(
        trial,
        "raw ICMPv6",
        libc::AF_INET6,
        libc::SOCK_RAW,
        libc::IPPROTO_ICMPV6,
        Some(NET_RAW),
    );
    for (name, domain, protocol) in [
        ("ICMP datagram", libc::AF_INET, libc::IPPROTO_ICMP),
        ("ICMPv6 datagram", libc::AF_INET6, libc::IPPROTO_ICMPV6),
    ] {
        // Without a filter, EACCES is the namespace's `ping_group_range`.
        trial.step(name, |child| {
            match primitive::socket(child, domain, libc::SOCK_DGRAM, protocol) {
                Ok(socket) => {
                    primitive::close(child, socket);
                    Outcome::Open("a socket".to_owned())
                }
                Err(Errno(libc::EACCES)) => {
                    Outcome::Blocked(Layer::Netns, "ping_group_range of the namespace".to_owned())
                }
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
                }
            }
        });
    }
}

fn raw_ip(trial: &mut Trial<'_>) {
    control(trial);
    make(
        trial,
        "raw IPv4",
        libc::AF_INET,
        libc::SOCK_RAW,
        libc::IPPROTO_RAW,
        Some(NET_RAW),
    );
    make(
        trial,
        "raw IPv6",
        libc::AF_INET6,
        libc::SOCK_RAW,
        libc::IPPROTO_RAW,
        Some(NET_RAW),
    );
}

fn packet(trial: &mut Trial<'_>) {
    control(trial);
    let all = i32::from(0x0003_u16.to_be());
    make(
        trial,
        "packet raw",
        libc::AF_PACKET,
        libc::SOCK_RAW,
        all,
        Some(NET_RAW),
    );
    make(
        trial,
        "packet cooked",
        libc::AF_PACKET,
        libc::SOCK_DGRAM,
        all,
        Some(NET_RAW),
    );
}

fn xdp(trial: &mut Trial<'_>) {
    control(trial);
    make(trial, "XDP", libc::AF_XDP, libc::SOCK_RAW, 0, Some(NET_RAW));
}

fn protocols(trial: &mut Trial<'_>) {
    control(trial);
    for (name, kind, protocol) in [
        ("SCTP one to one", libc::SOCK_STREAM, 132),
        ("SCTP one to many", libc::SOCK_SEQPACKET, 132),
        ("DCCP", 6, 33),
        ("UDP-Lite", libc::SOCK_DGRAM, 136),
        ("multipath TCP", libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
    ] {
        trial.step(name, |child| {
            match primitive::socket(child, libc::AF_INET, kind, protocol) {
                Ok(socket) => {
                    primitive::close(child, socket);
                    Outcome::Open("a socket".to_owned())
                }
                Err(Errno(libc::ENOPROTOOPT)) => {
                    Outcome::Absent("switched off for this namespace".to_owned())
                }
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
                }
            }
        });
    }
}

fn families(trial: &mut Trial<'_>) {
    control(trial);
    let plain = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let elsewhere = [libc::AF_PACKET, libc::AF_XDP, libc::AF_VSOCK, libc::AF_ALG];
    for family in (0..=46).filter(|family| !plain.contains(family) && !elsewhere.contains(family)) {
        trial.step(format_args!("family {family}"), |child| {
            let twin = primitive::socket_twin(child, family);
            let kinds = [
                libc::SOCK_STREAM,
                libc::SOCK_DGRAM,
                libc::SOCK_RAW,
                libc::SOCK_SEQPACKET,
            ];
            let mut refusal = Errno(libc::EAFNOSUPPORT);
            for kind in kinds {
                match primitive::socket(child, family, kind, 0) {
                    Ok(socket) => {
                        primitive::close(child, socket);
                        return Outcome::Open(format!("a socket of type {kind}"));
                    }
                    Err(errno @ Errno(libc::EPERM | libc::EACCES)) => refusal = errno,
                    Err(Errno(libc::ESOCKTNOSUPPORT | libc::EPROTONOSUPPORT | libc::EINVAL)) => {}
                    Err(_) => {}
                }
            }
            Outcome::Refused(
                refusal,
                Via::call(libc::SYS_socket)
                    .network()
                    .capability(NET_RAW)
                    .twin(twin),
            )
        });
    }
}

fn crypto(trial: &mut Trial<'_>) {
    control(trial);
    trial.step("crypto socket", |child| {
        match primitive::socket(child, libc::AF_ALG, libc::SOCK_SEQPACKET, 0) {
            Ok(socket) => Outcome::Open(bind_cipher(child, socket)),
            Err(errno) => {
                Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
            }
        }
    });
}

fn bind_cipher(child: &Child, socket: i64) -> String {
    let mut address = Vec::from(primitive::family(libc::AF_ALG));
    let mut kind = b"aead".to_vec();
    kind.resize(14, 0);
    let mut name = b"authencesn(hmac(sha256),cbc(aes))".to_vec();
    name.resize(64, 0);
    address.extend(kind);
    address.extend([0; 8]);
    address.extend(name);
    let bound = child.call(
        libc::SYS_bind,
        [
            socket.into(),
            address.as_slice().into(),
            primitive::length(&address).into(),
        ],
    );
    bound.map_or_else(
        |errno| format!("a socket; bind gave {errno}"),
        |_| "bound to a cipher".to_owned(),
    )
}

fn vsock(trial: &mut Trial<'_>) {
    control(trial);
    for (name, kind) in [
        ("stream", libc::SOCK_STREAM),
        ("datagram", libc::SOCK_DGRAM),
    ] {
        trial.step(name, |child| {
            match primitive::socket(child, libc::AF_VSOCK, kind, 0) {
                Ok(socket) => {
                    primitive::close(child, socket);
                    Outcome::Open("a socket".to_owned())
                }
                Err(Errno(libc::ENODEV)) => Outcome::Absent("no hypervisor to talk to".to_owned()),
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
                }
            }
        });
    }
}

fn netlink(trial: &mut Trial<'_>) {
    control(trial);
    for protocol in 1..=22 {
        trial.step(
            format_args!("netlink protocol {protocol}"),
            |child| match primitive::socket(child, libc::AF_NETLINK, libc::SOCK_RAW, protocol) {
                Ok(socket) => {
                    primitive::close(child, socket);
                    Outcome::Open("a socket".to_owned())
                }
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_socket).network().only_filter())
                }
            },
        );
    }
}
