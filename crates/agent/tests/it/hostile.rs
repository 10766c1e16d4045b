//! Answers from anybody: whatever an agent says, the client's calls end with an answer that makes sense or with an error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use lochness_agent::client::AgentClient;
use lochness_agent::{GuestList, Transport, TransportError};
use lochness_api::job::JobAction;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fixture::{guest, guest_id, ticket};

/// Answers that are right, to be damaged.
const RIGHT: [&str; 6] = [
    r#"[{"id":"00000000-0000-4000-8000-000000000001","type":"kvm","nics":[{"name":"eth0","vlans":null}],"state":"running","memory":512}]"#,
    r#"{"id":"00000000-0000-4000-8000-000000000001","state":"create","metadata":{"a":"b"}}"#,
    r#"[{"ID":"j","GuestID":"00000000-0000-4000-8000-000000000001","Action":"create","QueuedAt":"2026-01-01T00:00:00Z","StartedAt":"0001-01-01T00:00:00Z","UpdatedAt":"2026-01-01T00:00:00Z","Status":"Running","Message":""}]"#,
    r#"{"id":"00000000-0000-4000-8000-000000000001","boot_id":"b","version":"1","capabilities":["order"],"self_fence_seconds":300}"#,
    r#"{"hash":"h","revision":"1.2","applied_at":"2026-01-01T00:00:00Z","error":null}"#,
    r#"{"message":"guest not found","code":404,"stack":["a"]}"#,
];

/// Gives every request the same answer.
struct Liar {
    code: u16,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

#[async_trait]
impl Transport for Liar {
    async fn round_trip(
        &self,
        _request: Request<Bytes>,
        _timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let mut answer = Response::builder().status(self.code);
        for (name, value) in &self.headers {
            answer = answer.header(*name, value.as_slice());
        }
        let answer = answer.body(Bytes::from(self.body.clone()));
        answer.map_err(|error| TransportError::Unknown(error.to_string()))
    }
}

/// Makes every call; what it claims must make sense.
fn ask_everything(liar: Liar) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let client = AgentClient::new(Arc::new(liar), "127.0.0.1:1".to_owned(), None);
    runtime.block_on(async {
        if let Ok(GuestList::Complete { guests, .. }) = client.list_guests(None).await {
            let mut ids: Vec<_> = guests.iter().map(|guest| guest.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), guests.len(), "a list names a guest once");
        }
        for error in [
            client.metadata().await.err(),
            client.capabilities().await.err(),
            client.guest(guest_id(1)).await.err(),
            client.jobs_of(guest_id(1)).await.err(),
            client.job("j").await.err(),
            client.image_jobs().await.err(),
            client.images().await.err(),
            client.firewall().await.err(),
            client.create(&guest(1), &ticket(1)).await.err(),
            client.act(guest_id(1), JobAction::Delete, &ticket(1)).await.err(),
        ]
        .into_iter()
        .flatten()
        {
            assert!(error.to_string().len() < 1_024, "an agent's words are cut: {error}");
            assert!(!error.to_string().contains('\n'), "and kept on one line: {error}");
        }
    });
}

#[test]
fn nested_huge_and_contradictory_answers_harm_nothing() {
    let bodies = [
        "[".repeat(100_000),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{\"message\":\"{}\"}}", "\\n".repeat(1 << 19)),
        "x".repeat(1 << 20),
        "null".to_owned(),
        String::new(),
        r#"[{"id":"00000000-0000-4000-8000-000000000001"},{"id":"00000000-0000-4000-8000-000000000001"}]"#.to_owned(),
        r#"[{"id":"../../etc"}]"#.to_owned(),
        r#"[{"id":"00000000-0000-4000-8000-000000000001","memory":18446744073709551616}]"#.to_owned(),
    ];
    for body in bodies {
        for code in [200, 202, 204, 301, 304, 404, 409, 500, 599] {
            let headers = vec![("x-guest-job-id", b"../../j".to_vec()), ("etag", vec![0xff])];
            ask_everything(Liar { code, headers, body: body.clone().into_bytes() });
        }
    }
}

proptest! {
    #[test]
    fn answers_that_were_damaged_harm_nothing(
        right in select(RIGHT.as_slice()),
        code in select(vec![200_u16, 202, 304, 404, 409, 500]),
        cut in any::<Index>(),
        flips in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        job in proptest::collection::vec(32_u8..127, 0..12),
    ) {
        let mut body = right.as_bytes().to_vec();
        for (at, byte) in flips {
            let length = body.len();
            body[at.index(length)] = byte;
        }
        // Half of them whole.
        let end = cut.index(2 * body.len());
        body.truncate(end.max(1));
        ask_everything(Liar { code, headers: vec![("x-guest-job-id", job)], body });
    }
}
