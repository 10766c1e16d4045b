//! Whether one namespace can talk to another: TCP, UDP, echo requests of ICMP.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendto, setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::namespace::Namespace;

/// What must come comes within this, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(8);
/// What must not come has this long to come.
const SILENCE: Duration = Duration::from_millis(400);

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The other side answered.
    Open,
    /// Somebody said no.
    Refused,
    /// Nobody said anything.
    Silence,
}

/// Answers to everybody at this TCP port with what it is told, until the sandbox ends.
pub(super) fn serve_tcp(there: &Namespace, ip: IpAddr, port: u16) {
    let listener = there.enter(|| TcpListener::bind((ip, port))).expect("the port is free");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// The same for UDP.
pub(super) fn serve_udp(there: &Namespace, ip: IpAddr, port: u16) {
    let socket = there.enter(|| UdpSocket::bind((ip, port))).expect("the port is free");
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // Whoever is gone does not need an answer.
            socket.send_to(&buffer[..length], from).ok();
        }
    });
}

/// A connection that stands.
pub(super) struct Connection(TcpStream);

/// Connects, and waits so long at most for silence.
fn connect_within(from: &Namespace, to: SocketAddr, limit: Duration) -> Result<Connection, Answer> {
    match from.enter(|| TcpStream::connect_timeout(&to, limit)) {
        Ok(stream) => Ok(Connection(stream)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(Answer::Silence),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(Answer::Refused),
        Err(error) => panic!("{to} from {}: {error}", from.name()),
    }
}

/// Connects where that must be possible.
pub(super) fn connect(from: &Namespace, to: (IpAddr, u16)) -> Result<Connection, Answer> {
    connect_within(from, to.into(), PATIENCE)
}

/// What a connection meets that must not come about.
pub(super) fn knock(from: &Namespace, to: (IpAddr, u16)) -> Answer {
    match connect_within(from, to.into(), SILENCE) {
        Ok(_) => Answer::Open,
        Err(answer) => answer,
    }
}

/// What a connection meets that must be refused: however slow that is, it is not silence.
pub(super) fn ask(from: &Namespace, to: (IpAddr, u16)) -> Answer {
    match connect(from, to) {
        Ok(_) => Answer::Open,
        Err(answer) => answer,
    }
}

impl Connection {
    /// Whether something sent comes back.
    pub(super) fn carries(&mut self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).expect("a socket takes a time");
        let mut answer = [0; 4];
        self.0.write_all(b"ping").is_ok() && self.0.read_exact(&mut answer).is_ok()
    }

    pub(super) fn still_carries(&mut self) -> bool {
        self.carries(PATIENCE)
    }
}

/// One datagram and its answer.
pub(super) fn datagram(from: &Namespace, to: (IpAddr, u16)) -> Answer {
    let any: IpAddr = match to.0 {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = from.enter(|| UdpSocket::bind((any, 0))).expect("there are free ports");
    socket.connect(to).expect("there is a way");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time");
    socket.send(b"ping").expect("the first datagram has nothing to fear");
    match socket.recv(&mut [0; 64]) {
        Ok(_) => Answer::Open,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Answer::Silence,
        Err(_unreachable) => Answer::Refused,
    }
}

/// An echo request and its answer.
pub(super) fn ping(from: &Namespace, to: IpAddr) -> Answer {
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let socket = from
        .enter(|| socket(family, SockType::Raw, SockFlag::empty(), protocol))
        .expect("the sandbox may have raw sockets");
    let limit = TimeVal::milliseconds(i64::try_from(SILENCE.as_millis()).expect("it is short"));
    setsockopt(&socket, ReceiveTimeout, &limit).expect("a socket takes a time");
    // Type, code, checksum, identifier, number. The kernel fills in the checksum of ICMPv6 alone.
    let mut packet = [request, 0, 0, 0, 0x10, 0x55, 0, 1];
    if to.is_ipv4() {
        let sum = u16::from_be_bytes([request, 0]) + 0x1055 + 1;
        [packet[2], packet[3]] = (!sum).to_be_bytes();
    }
    let file = socket.as_raw_fd();
    let sent = match to {
        IpAddr::V4(ip) => {
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
            sendto(file, &packet, &to, MsgFlags::empty())
        }
        IpAddr::V6(ip) => {
            let to = SockaddrIn6::from(std::net::SocketAddrV6::new(ip, 0, 0, 0));
            sendto(file, &packet, &to, MsgFlags::empty())
        }
    };
    sent.expect("there is a way");
    let mut buffer = [0; 128];
    // Other messages of the same protocol come along, such as those that look for neighbours.
    while let Ok(length) = recv(file, &mut buffer, MsgFlags::empty()) {
        let header = if to.is_ipv4() { 20 } else { 0 };
        if length >= header + 8
            && buffer[header] == reply
            && buffer[header + 4..][..2] == [0x10, 0x55]
        {
            return Answer::Open;
        }
    }
    Answer::Silence
}
