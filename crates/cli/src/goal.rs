//! What a wait waits for, and whether it has come. Only a status that answers the document as it is now counts.

use std::str::FromStr;

use lochness_api::document::{DesiredState, Guest};
use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus, Phase};
use lochness_api::{Document as _, Kind};
use serde_json::Value;

use crate::object::Object;
use crate::why::{answers_document, why};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The guest does what its document says, reboot token included.
    Declared,
    /// Document and status are gone.
    Deleted,
    /// A condition has this answer.
    Condition(ConditionType, ConditionStatus),
    /// The guest is in this phase.
    Phase(Phase),
}

/// Whether it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has.
    Reached,
    /// Not yet; why not, for people.
    NotYet(String),
    /// It will not without a person's help; why, for people.
    Never(String),
}

impl Goal {
    /// What output says once it is reached.
    pub(crate) fn done(self) -> String {
        match self {
            Self::Declared => "is as declared".to_owned(),
            Self::Deleted => "is gone".to_owned(),
            Self::Condition(kind, status) => format!("has {kind}={status}"),
            Self::Phase(phase) => format!("is {phase}"),
        }
    }

    /// Looks at an object. `None` means that it is neither declared nor known to the operator.
    pub(crate) fn judge(self, object: Option<&Object>) -> Verdict {
        let Some(object) = object else {
            return match self {
                Self::Deleted => Verdict::Reached,
                Self::Declared | Self::Condition(..) | Self::Phase(_) => {
                    Verdict::Never("it is deleted".to_owned())
                }
            };
        };
        match self {
            Self::Deleted => judge_deleted(object),
            Self::Condition(kind, status) => judge_condition(object, kind, status),
            Self::Declared => match object.guest_status() {
                Some(status) => judge_declared(object, &status),
                None => not_yet(object),
            },
            Self::Phase(phase) => match object.guest_status() {
                Some(status) => judge_phase(object, &status, phase),
                None => not_yet(object),
            },
        }
    }
}

fn judge_deleted(object: &Object) -> Verdict {
    if object.document.is_some() {
        Verdict::NotYet("its document is still there".to_owned())
    } else {
        let phase = object.guest_status().map_or("unknown", |status| status.phase.as_str());
        Verdict::NotYet(format!("its document is gone, its status is not (phase {phase})"))
    }
}

fn judge_condition(object: &Object, kind: ConditionType, wanted: ConditionStatus) -> Verdict {
    let conditions = object.conditions();
    match conditions.iter().find(|condition| condition.kind == kind) {
        Some(condition) if condition.status == wanted && is_current(object) => Verdict::Reached,
        Some(condition) => {
            let seen = if is_current(object) { "" } else { ", for an older document" };
            let (status, reason) = (condition.status, condition.reason);
            Verdict::NotYet(format!("{kind} is {status}{seen} ({reason}: {})", condition.message))
        }
        None => not_yet(object),
    }
}

fn judge_declared(object: &Object, status: &GuestStatus) -> Verdict {
    let Some(document) = &object.document else {
        return Verdict::Never("its document is deleted".to_owned());
    };
    let Ok(guest) = Guest::parse(&object.id, &document.value) else {
        return Verdict::Never(sentence(object));
    };
    let phase = match guest.state {
        DesiredState::Running => Phase::Running,
        DesiredState::Stopped => Phase::Stopped,
        DesiredState::Suspended => Phase::Suspended,
    };
    let ready = status.conditions.iter().all(|condition| {
        condition.kind != ConditionType::Ready || condition.status == ConditionStatus::True
    });
    if answers_document(object, status) && is_refused(status) {
        return Verdict::Never(sentence(object));
    }
    let rebooted = guest.reboot.is_none() || guest.reboot == status.reboot;
    if ready && rebooted { judge_phase(object, status, phase) } else { not_yet(object) }
}

fn judge_phase(object: &Object, status: &GuestStatus, wanted: Phase) -> Verdict {
    if !answers_document(object, status) {
        return not_yet(object);
    }
    match (status.phase == wanted, is_refused(status)) {
        (true, _) => Verdict::Reached,
        (false, true) => Verdict::Never(sentence(object)),
        (false, false) => not_yet(object),
    }
}

/// Whether the operator does not act on the document as it is, and never will.
fn is_refused(status: &GuestStatus) -> bool {
    status.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Valid && condition.status == ConditionStatus::False
    })
}

/// Whether the status answers the document: for guests by digest, for other kinds where the status has one.
fn is_current(object: &Object) -> bool {
    if object.kind == Kind::Guest {
        return object.guest_status().is_some_and(|status| answers_document(object, &status));
    }
    match object.status_json().get("observed").and_then(Value::as_str) {
        Some(observed) => object.digest().is_some_and(|digest| digest.to_string() == observed),
        None => true,
    }
}

fn not_yet(object: &Object) -> Verdict {
    let phase = object.guest_status().map(|status| status.phase);
    Verdict::NotYet(match phase {
        Some(phase) => format!("phase {phase}, {}", sentence(object)),
        None => sentence(object),
    })
}

fn sentence(object: &Object) -> String {
    why(object).map_or_else(|| "nothing is said to be wrong".to_owned(), |why| why.sentence())
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once('=')) {
            ("declared", _) => Ok(Self::Declared),
            ("running", _) => Ok(Self::Phase(Phase::Running)),
            ("stopped", _) => Ok(Self::Phase(Phase::Stopped)),
            ("suspended", _) => Ok(Self::Phase(Phase::Suspended)),
            ("deleted", _) => Ok(Self::Deleted),
            (_, Some(("phase", phase))) => parse_phase(phase).map(Self::Phase),
            (_, Some(("condition", condition))) => parse_condition(condition),
            _ => Err("write running, stopped, suspended, declared, deleted, phase=PHASE or \
                      condition=TYPE[=True|False|Unknown]"
                .to_owned()),
        }
    }
}

fn parse_phase(text: &str) -> Result<Phase, String> {
    let named = Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text));
    named.ok_or_else(|| {
        format!("{text:?} is no phase; the phases are {}", Phase::ALL.map(Phase::as_str).join(", "))
    })
}

fn parse_condition(text: &str) -> Result<Goal, String> {
    let (kind, status) = text.split_once('=').unwrap_or((text, "True"));
    let wrong_type =
        || format!("{kind:?} is no condition; a guest has Valid, Placed, Created, Ready");
    let wanted: ConditionType =
        serde_json::from_value(Value::from(kind)).map_err(|_| wrong_type())?;
    if wanted == ConditionType::Other {
        return Err(wrong_type());
    }
    let status = serde_json::from_value(Value::from(status)).map_err(|_| {
        format!("{status:?} is no answer of a condition; write True, False or Unknown")
    })?;
    Ok(Goal::Condition(wanted, status))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample::{condition, guest_document, object, status_of};

    fn running() -> Value {
        status_of(&guest_document(), "Running", &[condition("Ready", "True", "Running")])
    }

    #[test]
    fn goals_are_read_as_documented() {
        assert_eq!("running".parse(), Ok(Goal::Phase(Phase::Running)));
        assert_eq!("phase=creating".parse(), Ok(Goal::Phase(Phase::Creating)));
        assert_eq!(
            "condition=Placed".parse(),
            Ok(Goal::Condition(ConditionType::Placed, ConditionStatus::True))
        );
        assert_eq!(
            "condition=Alive=False".parse(),
            Ok(Goal::Condition(ConditionType::Alive, ConditionStatus::False))
        );
        assert!("condition=Nonsense".parse::<Goal>().is_err());
        assert!("phase=Nonsense".parse::<Goal>().is_err());
        assert!("happy".parse::<Goal>().is_err());
    }

    #[test]
    fn a_running_guest_is_as_declared() {
        let guest = object(Kind::Guest, Some(&guest_document()), Some(&running()));
        assert_eq!(Goal::Declared.judge(Some(&guest)), Verdict::Reached);
        assert_eq!(Goal::Phase(Phase::Running).judge(Some(&guest)), Verdict::Reached);
    }

    #[test]
    fn an_older_status_does_not_count() {
        let mut edited = guest_document();
        edited["metadata"]["label/app"] = json!("db");
        let guest = object(Kind::Guest, Some(&edited), Some(&running()));
        let ready = Goal::Condition(ConditionType::Ready, ConditionStatus::True);
        for goal in [Goal::Declared, Goal::Phase(Phase::Running), ready] {
            assert!(matches!(goal.judge(Some(&guest)), Verdict::NotYet(_)), "{goal:?}");
        }
    }

    #[test]
    fn a_reboot_that_is_not_done_is_waited_for() {
        let mut document = guest_document();
        document["reboot"] = json!("tuesday");
        let conditions = [condition("Ready", "True", "Running")];
        let mut status = status_of(&document, "Running", &conditions);
        let guest = object(Kind::Guest, Some(&document), Some(&status));
        assert!(matches!(Goal::Declared.judge(Some(&guest)), Verdict::NotYet(_)));
        status["reboot"] = json!("tuesday");
        let guest = object(Kind::Guest, Some(&document), Some(&status));
        assert_eq!(Goal::Declared.judge(Some(&guest)), Verdict::Reached);
    }

    #[test]
    fn waiting_for_a_refused_document_ends_at_once() {
        let refused = [condition("Valid", "False", "NameTaken")];
        let status = status_of(&guest_document(), "Pending", &refused);
        let guest = object(Kind::Guest, Some(&guest_document()), Some(&status));
        let verdict = Goal::Declared.judge(Some(&guest));
        assert_eq!(verdict, Verdict::Never("NameTaken: NameTaken in words".into()));
    }

    #[test]
    fn a_guest_that_goes_on_under_a_refused_edit_is_not_as_declared() {
        let refused =
            [condition("Valid", "False", "NameTaken"), condition("Ready", "True", "Running")];
        let status = status_of(&guest_document(), "Running", &refused);
        let guest = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert!(matches!(Goal::Declared.judge(Some(&guest)), Verdict::Never(_)));
        assert_eq!(Goal::Phase(Phase::Running).judge(Some(&guest)), Verdict::Reached);
    }

    #[test]
    fn deleted_means_that_document_and_status_are_gone() {
        let torn = object(Kind::Guest, None, Some(&json!({"phase": "Deleting"})));
        assert!(matches!(Goal::Deleted.judge(Some(&torn)), Verdict::NotYet(_)));
        assert_eq!(Goal::Deleted.judge(None), Verdict::Reached);
    }

    #[test]
    fn waiting_for_a_guest_that_is_deleted_ends_at_once() {
        assert!(matches!(Goal::Declared.judge(None), Verdict::Never(_)));
    }

    #[test]
    fn a_host_is_judged_without_digest_because_its_status_has_none() {
        let status =
            json!({"alive": true, "conditions": [condition("Alive", "True", "HeartbeatSeen")]});
        let host = object(Kind::Hypervisor, Some(&json!({})), Some(&status));
        let alive = Goal::Condition(ConditionType::Alive, ConditionStatus::True);
        assert_eq!(alive.judge(Some(&host)), Verdict::Reached);
    }
}
