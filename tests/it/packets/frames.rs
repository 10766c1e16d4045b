//! Frames as they are on the wire: written by hand, and read as they come.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use lochness_api::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::namespace::Namespace;

/// So long is waited for a frame at a time.
const GLANCE: Duration = Duration::from_millis(100);
/// A frame that must come comes within so many of these.
const GLANCES: usize = 100;
/// The shortest frame, without its checksum.
const SHORTEST: usize = 60;

/// What ends a frame, to know it again.
pub(super) type Mark = [u8; 8];

/// The interface `eth0` of a namespace, raw.
pub(super) struct Wire(OwnedFd);

impl Wire {
    /// Sees everything from now on.
    pub(super) fn tap(there: &Namespace) -> Self {
        let open = || {
            let wire = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::empty(),
                SockProtocol::EthAll,
            );
            let wire = wire.expect("the sandbox may have raw sockets");
            bind(wire.as_raw_fd(), &interface()).expect("the interface is there");
            wire
        };
        let wire = there.enter(open);
        let limit = TimeVal::milliseconds(i64::try_from(GLANCE.as_millis()).expect("it is short"));
        setsockopt(&wire, ReceiveTimeout, &limit).expect("a socket takes a time");
        Self(wire)
    }

    pub(super) fn send(&self, frame: &[u8]) {
        let sent = send(self.0.as_raw_fd(), frame, MsgFlags::empty()).expect("the wire is up");
        assert_eq!(sent, frame.len());
    }

    /// Does something again and again until a frame with this mark comes. Panics when it does not.
    pub(super) fn until_it_carries(&self, mark: Mark, again: impl Fn()) {
        for _ in 0..GLANCES {
            again();
            while let Some(frame) = self.next() {
                if has(&frame, mark) {
                    return;
                }
            }
        }
        panic!("no {} came", mark.escape_ascii());
    }

    /// The marks of the frames that come, up to the first that is `last`, in their order. Panics when that does not come.
    pub(super) fn marks_until(&self, known: &[Mark], last: Mark) -> Vec<Mark> {
        let mut seen = Vec::new();
        for _ in 0..GLANCES {
            while let Some(frame) = self.next() {
                seen.extend(known.iter().find(|mark| has(&frame, **mark)));
                if seen.contains(&last) {
                    return seen;
                }
            }
        }
        panic!("{} did not come, but {seen:?}", last.escape_ascii());
    }

    /// The next frame, if one comes soon.
    fn next(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
        Some(buffer[..length].to_vec())
    }
}

fn has(frame: &[u8], mark: Mark) -> bool {
    frame.windows(mark.len()).any(|piece| piece == mark)
}

fn interface() -> LinkAddr {
    let mut addresses = getifaddrs().expect("interfaces can be listed");
    let link = addresses.find_map(|it| {
        (it.interface_name == "eth0").then_some(())?;
        it.address?.as_link_addr().copied()
    });
    link.expect("a guest has eth0")
}

/// An Ethernet frame, with the tag of a VLAN if that is said.
pub(super) fn ethernet(from: Mac, to: Mac, vlan: Option<u16>, kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = [to.bytes(), from.bytes()].concat();
    if let Some(tag) = vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(rest);
    frame
}

/// A datagram of IPv4 or IPv6 with a mark in it, as [`ethernet`] wants it.
pub(super) fn datagram(from: IpAddr, to: IpAddr, mark: Mark) -> (u16, Vec<u8>) {
    // Ports 5000 and 5001, 16 bytes, no checksum.
    let mut udp = vec![0x13, 0x88, 0x13, 0x89, 0, 16, 0, 0];
    udp.extend(mark);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 36, 0, 1, 0, 0, 64, 17, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
            let sum: u32 = words.sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("it is folded");
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (0x0800, [header, udp].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 16, 17, 64];
            header.extend(from.octets());
            header.extend(to.octets());
            (0x86dd, [header, udp].concat())
        }
        _ => panic!("{from} and {to} are not of one family"),
    }
}

/// An ARP request of `(mac, ip)` for `wanted` with a mark behind it, as [`ethernet`] wants it.
pub(super) fn arp(from: (Mac, IpAddr), wanted: IpAddr, mark: Mark) -> (u16, Vec<u8>) {
    let (IpAddr::V4(ip), IpAddr::V4(wanted)) = (from.1, wanted) else {
        panic!("ARP is for IPv4");
    };
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(from.0.bytes());
    request.extend(ip.octets());
    request.extend([0; 6]);
    request.extend(wanted.octets());
    request.extend(mark);
    request.resize(SHORTEST - 14, 0);
    (0x0806, request)
}
