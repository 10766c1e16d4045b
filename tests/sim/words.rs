//! The words of what is seen, and what they tell.

use lochness_agent::server::{Effect, Host};
use lochness_api::status::{ConditionStatus, GuestStatus};
use lochness_kv::Event;

/// Keys that hang on leases go by themselves: what frees an address at the end of its quarantine is no write.
pub(crate) fn is_expiry(event: &Event) -> bool {
    let key = String::from_utf8_lossy(event.key());
    matches!(event, Event::Delete { .. })
        && (key.contains("/addresses/") || key.contains("/events/"))
}

/// L3: what is not done is on its way, or says why not.
pub(crate) fn says_why(status: &GuestStatus) -> bool {
    let says = |it: &lochness_api::status::Condition| {
        it.status == ConditionStatus::False && !it.message.is_empty()
    };
    status.conditions.iter().any(says)
}

/// The conditions of a status, with their words.
pub(crate) fn reasons(status: &GuestStatus) -> String {
    let told = status
        .conditions
        .iter()
        .map(|it| format!("{}={}({}) {}", it.kind, it.status, it.reason, it.message));
    told.collect::<Vec<_>>().join("; ")
}

/// What a change did to which key.
pub(crate) fn told_key(event: &Event) -> String {
    let key = String::from_utf8_lossy(event.key());
    let verb = if matches!(event, Event::Put(_)) { "put" } else { "del" };
    format!("r{} {verb} {key}", event.revision())
}

/// An effect, for the trace.
pub(crate) fn told(host: &Host, effect: &Effect) -> String {
    let guest = effect.guest.map(|guest| guest.to_string()).unwrap_or_default();
    let order = effect.order.map(|order| order.to_string()).unwrap_or_default();
    format!("{} {:?} {guest} {order}", host.name(), effect.kind)
}

/// A change, for the trace.
pub(crate) fn line(event: &Event) -> String {
    let key = String::from_utf8_lossy(event.key());
    match event {
        Event::Put(kv) => format!("put {key} {}", String::from_utf8_lossy(&kv.value)),
        Event::Delete { .. } => format!("del {key}"),
    }
}
