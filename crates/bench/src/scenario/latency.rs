//! How long one guest waits on an idle fleet: from its document to the agent that receives its create, against the steps
//! that cannot be left out, measured in the same run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use lochness_agent::client::{AgentClient, HttpOptions, HttpTransport};
use lochness_agent::server::{AgentServer, Effect, EffectKind};
use lochness_api::job::JobAction;
use lochness_api::{Key, Prefix};
use lochness_kv::{EtcdKv, Kv as _, Op, Txn, WatchRequest};

use super::{LEASE, LIMIT, Scale};
use crate::documents::{basics, guest, guest_id, put_all, subnet};
use crate::figure::{Bound, Figure, quantile};
use crate::machine::Stopwatch;
use crate::near::serve;
use crate::stack::{Operator, connect, etcd};
use crate::tally::Tally;

const HOSTS: u32 = 10;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(20, 300, 1_000);
    let etcd = etcd();
    let kv = connect(&etcd).await?;
    put_all(&kv, basics(HOSTS)).await?;
    put_all(&kv, [subnet()]).await?;
    let server = serve(Arc::clone(&kv), HOSTS).await?;
    let operator = Operator::start(&scale.programs, &etcd, LEASE).await?;
    operator.until_ready("leading").await?;
    let mut tally = Tally::start(Arc::clone(&kv)).await?;
    // The first guests bring image and firewall to each host; what is measured is the way of all others.
    let warm = HOSTS * 5;
    put_all(&kv, (0..warm).map(guest)).await?;
    let all = usize::try_from(warm)?;
    tally.until("the first guests run", LIMIT, |count| count.running >= all).await?;
    let entries = tally.now().entries;
    let watch = Stopwatch::start()?;
    let mut ours = Vec::new();
    let mut steps = Vec::new();
    for number in warm..warm + guests {
        let sent = Timestamp::now();
        put_all(&kv, [guest(number)]).await?;
        let all = usize::try_from(number)? + 1;
        tally.until("it runs", LIMIT, |count| count.running >= all).await?;
        ours.push(waited(&server, number, sent).await?.as_secs_f64() * 1e3);
        steps.push(unavoidable(&kv, &server, number).await? * 1e3);
    }
    let stolen = [watch.stolen()?];
    let ratio = |share| quantile(&ours, share) / quantile(&steps, share);
    let (p50, p99) = (ratio(0.5), ratio(0.99));
    #[allow(clippy::cast_precision_loss, reason = "some thousand entries")]
    let entries = (tally.now().entries - entries) as f64 / f64::from(guests);
    server.shutdown().await;
    Ok(vec![
        Figure::told("entries in etcd's log a guest, idle", "", vec![entries])
            .bounded(Bound::AtMost(4.0)),
        Figure::told("document to agent, p50", "ms", vec![quantile(&ours, 0.5)]),
        Figure::told("document to agent, p99", "ms", vec![quantile(&ours, 0.99)]),
        Figure::told("put to watch + placement + HTTP, p50", "ms", vec![quantile(&steps, 0.5)]),
        Figure::told("document to agent against these, p50", "×", vec![p50])
            .bounded(Bound::AtMost(2.0))
            .stolen(&stolen),
        Figure::told("document to agent against these, p99", "×", vec![p99])
            .bounded(Bound::AtMost(4.0))
            .stolen(&stolen),
    ])
}

/// From the moment at which its document was sent until an agent received the create, which it then carried out.
pub(crate) async fn waited(
    server: &AgentServer,
    number: u32,
    sent: Timestamp,
) -> anyhow::Result<Duration> {
    let id = guest_id(number);
    let made = |effect: &Effect| effect.kind == EffectKind::Created && effect.guest == Some(id);
    let host = server.hosts().iter().find(|(host, _)| host.history().iter().any(made));
    let (_, address) = host.context("an agent made the guest")?;
    let jobs = client(*address)?.jobs_of(id).await?;
    let creates = jobs.iter().filter(|job| job.action == JobAction::Create.as_str());
    let received = creates.filter_map(|job| job.queued_at).min();
    let received = received.context("the agent knows the job by which it made the guest")?;
    Ok(Duration::try_from(received.duration_since(sent))?)
}

/// In seconds: a put until its watcher has it, one transaction like a placement, and one bare request to an agent.
pub(crate) async fn unavoidable(
    kv: &EtcdKv,
    server: &AgentServer,
    number: u32,
) -> anyhow::Result<f64> {
    let prefix = Prefix::default();
    let key = format!("bench/{number}");
    let mut stream = kv.watch(WatchRequest::prefix(key.clone(), 0)).await?;
    let value = guest(number).1;
    let began = Instant::now();
    let put = Txn { success: vec![Op::put(key, value.clone())], ..Txn::default() };
    kv.txn(put).await?;
    while stream.next().await?.events.is_empty() {}
    let watched = began.elapsed();
    let began = Instant::now();
    let keys = (0..4).map(|part| format!("bench/{number}/{part}"));
    let success = keys.map(|key| Op::put(key, value.clone())).collect();
    let absent = lochness_kv::Compare::absent(
        prefix.key(&Key::Job(lochness_api::JobId::new(uuid::Uuid::from_u128(u128::from(number))))),
    );
    kv.txn(Txn { compares: vec![absent; 4], success, failure: Vec::new() }).await?;
    let placed = began.elapsed();
    let (_, address) = server.hosts().first().context("a host")?;
    let client = client(*address)?;
    client.metadata().await?;
    let began = Instant::now();
    client.metadata().await?;
    Ok((watched + placed + began.elapsed()).as_secs_f64())
}

fn client(address: SocketAddr) -> anyhow::Result<AgentClient> {
    let transport = Arc::new(HttpTransport::new(HttpOptions::default())?);
    Ok(AgentClient::new(transport, address.to_string(), None))
}
