//! Over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lochness_agent::client::{
    AgentClient, AgentError, GuestList, HttpOptions, HttpTransport, Wait,
};
use lochness_agent::server::{
    AgentServer, Event, Faults, Host, HostConfig, MemoryDisk, ReplyFault, Storage,
};
use lochness_api::HypervisorId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::fixture::{clock, config, guest, guest_id, ticket, until};

async fn serve(server: &mut AgentServer, config: HostConfig) -> (Host, SocketAddr) {
    let storage = Storage::memory(&MemoryDisk::default());
    let host = Host::open(config, storage, clock()).unwrap();
    let address = server.serve(host.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    (host, address)
}

fn transport() -> Arc<HttpTransport> {
    Arc::new(HttpTransport::new(HttpOptions::default()).unwrap())
}

#[tokio::test]
async fn a_guest_is_created_and_seen_over_a_connection() {
    let mut server = AgentServer::new();
    let (_, address) = serve(&mut server, config()).await;
    let client = AgentClient::new(transport(), address.to_string(), None);
    client.metadata().await.unwrap();
    let GuestList::Complete { tag: Some(tag), .. } = client.list_guests(None).await.unwrap() else {
        panic!("no tag")
    };
    let wait = Some(Wait { at_most: Duration::from_secs(30), tag: Some(&tag) });
    let first = ticket(1);
    let first = (guest(1), first);
    let (list, created) = tokio::join!(client.list_guests(wait), client.create(&first.0, &first.1));
    created.unwrap();
    assert!(matches!(list.unwrap(), GuestList::Complete { guests, .. } if guests.len() == 1));
    server.shutdown().await;
}

#[tokio::test]
async fn a_dead_agent_breaks_its_connections_and_refuses_new_ones_until_it_is_back() {
    let mut server = AgentServer::new();
    let (host, address) = serve(&mut server, config()).await;
    let client = AgentClient::new(transport(), address.to_string(), None);
    let GuestList::Complete { tag: Some(tag), .. } = client.list_guests(None).await.unwrap() else {
        panic!("no tag")
    };
    let wait = Some(Wait { at_most: Duration::from_secs(60), tag: Some(&tag) });
    let dies = async {
        until("the list waits", || host.stats().lists_unchanged > 0).await;
        host.happen(Event::KillAgent { down_ms: 300 }).unwrap();
    };
    let (waiting, ()) = tokio::join!(client.list_guests(wait), dies);
    assert!(matches!(waiting, Err(AgentError::Unknown(_))), "{waiting:?}");
    let refused = client.create(&guest(1), &ticket(1)).await;
    assert!(matches!(refused, Err(AgentError::NotSent(_))), "{refused:?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while client.metadata().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the agent does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_goes_wrong_with_an_answer_is_told_apart() {
    let mut server = AgentServer::new();
    let (host, address) = serve(&mut server, config()).await;
    let client = AgentClient::new(transport(), address.to_string(), None);
    let set = |faults| host.set_faults(faults, None);

    set(Faults { lost_answers: 1000, ..Faults::default() });
    let lost = client.create(&guest(1), &ticket(1)).await;
    assert!(matches!(lost, Err(AgentError::Unknown(_))), "{lost:?}");
    assert_eq!(host.stats().jobs_accepted, 1, "it was carried out");

    set(Faults { reply: Some(ReplyFault::Redirect), ..Faults::default() });
    let moved = client.create(&guest(2), &ticket(2)).await;
    assert!(matches!(moved, Err(AgentError::Refused { code: 301, .. })), "{moved:?}");

    set(Faults { reply: Some(ReplyFault::Hang), ..Faults::default() });
    let budget = Duration::from_millis(50);
    let hung = client.create(&guest(2), &lochness_agent::Ticket { budget, ..ticket(2) }).await;
    assert!(hung.as_ref().is_err_and(AgentError::may_have_happened), "{hung:?}");

    set(Faults::default());
    assert!(client.guest(guest_id(1)).await.is_ok());
    server.shutdown().await;
    let gone = client.metadata().await;
    assert!(matches!(gone, Err(AgentError::NotSent(_))), "{gone:?}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let chunk = vec![b' '; 1 << 20];
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&chunk).await.is_ok() {}
    };
    let client = AgentClient::new(transport(), address.to_string(), None);
    let (list, ()) = tokio::join!(client.list_guests(None), endless);
    let Err(AgentError::Unknown(why)) = list else { panic!("{list:?}") };
    assert!(why.contains("larger"), "{why}");
}

#[tokio::test]
async fn many_hosts_share_one_process_and_one_pool() {
    let mut server = AgentServer::new();
    let mut clients = Vec::new();
    let transport = transport();
    for number in 0..50 {
        let id = HypervisorId::new(Uuid::from_u128(number));
        let config = HostConfig::new(id, format!("host-{number}"));
        let (_, address) = serve(&mut server, config).await;
        clients.push((id, AgentClient::new(transport.clone(), address.to_string(), None)));
    }
    for (id, client) in &clients {
        assert_eq!(client.capabilities().await.unwrap().unwrap().id, *id);
    }
    server.shutdown().await;
}
