//! What the guest loop does not write at once, because a moment later one transaction says more.

use super::*;

const MOMENT: Duration = Duration::from_millis(100);

/// A guest whose first create is under way, or has ended so, and what its host lists.
fn create(outcome: Option<Result<(), String>>, state: Option<&'static str>) -> Case {
    let job = Some(job(JobAction::Create, JobStatus::Working, 0, 0));
    let answered = written(&Case::default().plan()).clone();
    let former = GuestStatus { phase: Phase::Scheduled, agent_state: None, ..answered };
    Case {
        former: Some(former),
        job,
        outcome,
        state,
        seen_for: MOMENT,
        fresh: false,
        ..Case::default()
    }
}

#[test]
fn how_far_a_job_is_is_told_once_it_has_been_under_way_for_a_while() {
    let early = create(None, None).plan();
    assert_eq!(written(&early).phase, Phase::Scheduled, "{early:?}");
    let left = Settings::default().status_interval.saturating_sub(MOMENT);
    assert_eq!(early.again_in, Some(left));
    let late = Case { seen_for: Duration::from_secs(1), ..create(None, None) }.plan();
    assert_eq!(written(&late).phase, Phase::Creating);
    assert_eq!(late.again_in, None);
}

#[test]
fn an_edit_is_answered_at_once_although_a_job_is_under_way() {
    let document = json!({"state": "stopped"});
    let plan = Case { document, ..create(None, None) }.plan();
    assert_eq!(written(&plan).phase, Phase::Creating, "{plan:?}");
}

#[test]
fn the_end_of_a_create_waits_a_moment_for_the_list_that_shows_the_guest() {
    let plan = create(Some(Ok(())), None).plan();
    assert_eq!((closing(&plan), written(&plan).phase), (None, Phase::Scheduled), "{plan:?}");
    assert!(plan.again_in.is_some_and(|wait| wait < Duration::from_secs(1)), "{plan:?}");
}

#[test]
fn the_end_of_a_create_is_written_with_the_agents_word_or_without_it() {
    let listed = create(Some(Ok(())), Some("running")).plan();
    assert!(closing(&listed).is_some());
    assert_eq!(written(&listed).agent_state.as_deref(), Some("running"));
    let unlisted = Case { seen_for: Duration::from_secs(1), ..create(Some(Ok(())), None) }.plan();
    assert!(closing(&unlisted).is_some(), "nobody waits for ever: {unlisted:?}");
    let failed = create(Some(Err("no".to_owned())), None).plan();
    assert!(closing(&failed).is_some(), "no list shows what a failed create has brought");
}
