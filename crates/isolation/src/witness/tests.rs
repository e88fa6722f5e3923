use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("casemate-witness-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn endpoint(witness: &Witness, check: &str, kind: EndpointKind) -> String {
    let found = witness
        .canaries()
        .endpoints
        .iter()
        .find(|at| at.check == check && at.kind == kind);
    found.unwrap().address.clone()
}

#[test]
fn an_arrival_with_the_token_is_counted_for_its_check_and_answered() {
    let directory = directory("token");
    let witness =
        Witness::start(&WitnessSettings::in_directory(directory.clone()), &[1; 32]).unwrap();
    let hello = greeting(&witness.canaries().token, "EG-01");
    let mut stream = TcpStream::connect(endpoint(&witness, "EG-01", EndpointKind::Tcp)).unwrap();
    stream.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(is_answer(&answer, &hello));
    assert_eq!(
        (
            witness.arrivals("EG-01"),
            witness.arrivals("EG-02"),
            witness.strangers()
        ),
        (1, 0, 0)
    );
    fs::remove_dir_all(directory).unwrap_or_default();
}

#[test]
fn a_stranger_is_counted_apart_and_gets_no_answer() {
    let directory = directory("stranger");
    let witness =
        Witness::start(&WitnessSettings::in_directory(directory.clone()), &[2; 32]).unwrap();
    let mut stream = TcpStream::connect(endpoint(&witness, "LA-01", EndpointKind::Tcp)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!((witness.arrivals("LA-01"), witness.strangers()), (0, 1));
    drop(witness);
    fs::remove_dir_all(directory).unwrap_or_default();
}

#[test]
fn datagrams_and_unix_sockets_are_witnessed_too() {
    let directory = directory("kinds");
    let witness =
        Witness::start(&WitnessSettings::in_directory(directory.clone()), &[3; 32]).unwrap();
    let token = witness.canaries().token.clone();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    udp.send_to(
        &greeting(&token, "EG-03"),
        endpoint(&witness, "EG-03", EndpointKind::Udp),
    )
    .unwrap();
    let mut buffer = [0; 128];
    let count = udp.recv(&mut buffer).unwrap();
    assert!(is_answer(&buffer[..count], &greeting(&token, "EG-03")));
    let name = endpoint(&witness, "EG-21", EndpointKind::AbstractStream);
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let mut stream = UnixStream::connect_addr(&address).unwrap();
    stream.write_all(&greeting(&token, "EG-21")).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(
        (witness.arrivals("EG-03"), witness.arrivals("EG-21")),
        (1, 1)
    );
    drop(witness);
    fs::remove_dir_all(directory).unwrap_or_default();
}

#[test]
fn nothing_of_a_witness_stays_when_it_is_dropped() {
    let directory = directory("leftovers");
    let witness =
        Witness::start(&WitnessSettings::in_directory(directory.clone()), &[4; 32]).unwrap();
    let canaries = witness.canaries().clone();
    let process = canaries.process.clone().unwrap();
    assert!(fs::exists(format!("/proc/{}", process.pid)).unwrap());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    drop(witness);
    assert!(!fs::exists(format!("/proc/{}", process.pid)).unwrap());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    fs::remove_dir_all(directory).unwrap_or_default();
}

#[test]
fn an_answer_for_another_token_is_not_ours() {
    assert!(!is_answer(
        b"casemate-witness other\n",
        &greeting("mine", "EG-01")
    ));
    assert!(!is_answer(b"casemate-witness \n", b"nothing was sent"));
}
