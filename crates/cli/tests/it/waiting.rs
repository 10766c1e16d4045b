//! `wait`.

use crate::stage::{Stage, condition, guest, guest_status};

#[tokio::test(start_paused = true)]
async fn wait_ends_when_the_status_answers_the_document() {
    let stage = Stage::with_fleet().await;
    let command = ["wait", "guest", "web-1", "--for=running"];
    let (said, ()) = tokio::join!(stage.run(&command), async {
        stage.answer("web-1", "Creating", condition("Ready", "False", "Creating", "")).await;
        stage.answer("web-1", "Running", condition("Ready", "True", "Running", "")).await;
    });
    assert_eq!((said.code, said.out.as_str()), (0, "guest/web-1 is Running\n"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_status_from_before_the_last_edit_is_waited_over() {
    let stage = Stage::with_fleet().await;
    stage.answer("web-1", "Running", condition("Ready", "True", "Running", "")).await;
    let document = stage.value(&guest("web-1")).await.unwrap();
    stage.put(&guest("web-1"), document.replace("\"web\"", "\"shop\"")).await;
    let said = stage.run(&["wait", "guest", "web-1", "--for=running"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("older document"), "{}", said.err);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_exist_is_an_error_that_offers_similar_names() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["wait", "guest", "web-2", "--for=running"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("did you mean web-1?"), "{}", said.err);
}

#[tokio::test(start_paused = true)]
async fn deleted_means_that_the_status_is_gone_too() {
    let stage = Stage::with_fleet().await;
    stage.answer("web-1", "Running", condition("Ready", "True", "Running", "")).await;
    stage.delete(&guest("web-1")).await;
    let command = ["wait", "guest", "web-1", "--for=deleted"];
    let status = guest_status("web-1");
    let (said, ()) = tokio::join!(stage.run(&command), stage.delete(&status));
    assert_eq!((said.code, said.out.as_str()), (0, "guest/web-1 is gone\n"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_goes_on_over_a_cut_watch() {
    let stage = Stage::with_fleet().await;
    let command = ["wait", "guest", "web-1", "--for=condition=Placed"];
    let (said, ()) = tokio::join!(stage.run(&command), async {
        tokio::task::yield_now().await;
        stage.kv.cut_watches();
        stage.answer("web-1", "Scheduled", condition("Placed", "True", "Placed", "")).await;
    });
    assert_eq!((said.code, said.out.as_str()), (0, "guest/web-1 has Placed=True\n"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_refused_guest_ends_at_once() {
    let stage = Stage::with_fleet().await;
    let refused = condition("Valid", "False", "NameTaken", "web-1 is taken");
    stage.answer("web-1", "Pending", refused).await;
    let said = stage.run(&["wait", "guest", "web-1", "--for=running"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("web-1 is taken"), "{}", said.err);
}

#[tokio::test(start_paused = true)]
async fn a_host_has_no_phase_to_wait_for() {
    let stage = Stage::new();
    let said = stage.run(&["wait", "hv", "node-1", "--for=running"]).await;
    assert_eq!(said.code, 2, "{said:?}");
}
