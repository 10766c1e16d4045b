//! What users declare in a history.

use lochness_api::{GuestId, Mac, SubnetId};
use serde_json::{Value, json};

use crate::testing::id;

pub(super) fn guest_id(guest: u8) -> GuestId {
    id(100 + u128::from(guest))
}

pub(super) fn subnet_id(subnet: u8) -> SubnetId {
    id(2 + 20 * u128::from(subnet))
}

pub(super) fn document(wish: u8) -> Value {
    let mut document = json!({"flavor": id::<()>(3), "network": id::<()>(1)});
    let wish = match wish {
        0 => json!({"ip": "10.0.0.9"}),
        1 => json!({"ip": "10.0.0.3"}),
        2 => json!({"mac": "02:00:00:00:00:01"}),
        3 => json!({"subnet": subnet_id(1)}),
        4 => json!({"mac": Mac::of_guest(guest_id(0))}),
        _ => json!({}),
    };
    document.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
    document
}

/// Ranges that shrink, grow, meet, share a range, and go.
pub(super) fn subnet_document(subnet: u8, range: u8) -> Option<Value> {
    let (cidr, start, end) = match (subnet, range) {
        (0, 0) => ("10.0.0.0/29", "", ""),
        (0, 1) => ("10.0.0.0/28", "", "10.0.0.13"),
        (0, 2) => ("10.0.0.0/29", "10.0.0.3", "10.0.0.4"),
        (0, 3) => ("10.0.0.0/28", "", "10.0.0.7"),
        (0, 4) => ("10.0.9.0/29", "", ""),
        (1, 0) => ("10.0.0.8/29", "", ""),
        (1, 1) => ("10.0.0.0/28", "10.0.0.8", ""),
        (1, 2) => ("10.0.0.0/28", "", ""),
        (1, 3) => ("10.0.1.0/30", "", ""),
        (1, 4) => ("10.0.0.4/30", "", ""),
        _ => return None,
    };
    Some(json!({"network": id::<()>(1), "cidr": cidr, "start": start, "end": end}))
}
