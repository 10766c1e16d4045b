//! A TCP proxy that can be told to misbehave: between an operator and etcd, or an operator and an agent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// Bytes that pass at once while they drip, and the pause after them.
const DRIP: usize = 48;
const DRIP_PAUSE: Duration = Duration::from_millis(10);

/// What the proxy does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything passes.
    Fair,
    /// Every connection is cut, and new ones are as soon as they are made.
    Cut,
    /// Connections stay open, and nothing passes from the server: what is asked happens, and the answer is lost.
    AnswersLost,
    /// Connections stay open, and nothing passes either way.
    Silence,
    /// Everything passes, so much later; longer when much is under way.
    Slow(Duration),
    /// Answers come in drops.
    Trickle,
    /// Half of an answer's first portion passes, then the connection is cut.
    Truncated,
}

/// Listens, and passes on.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    bitten: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Proxy {
    /// A proxy before `target`, which is `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), target).await
    }

    /// One that listens at this address, on a port of its own.
    pub(crate) async fn start_at(ip: IpAddr, target: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let bitten = Arc::new(AtomicU64::new(0));
        let (target, seen, count) = (target.to_owned(), Arc::clone(&weather), Arc::clone(&bitten));
        let serving = async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() == Weather::Cut {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let connection =
                    Connection { weather: seen.subscribe(), bitten: Arc::clone(&count) };
                connections.spawn(connection.pass(client, server));
                while connections.try_join_next().is_some() {}
            }
        };
        let task = tokio::runtime::Handle::current().spawn(serving).abort_handle();
        Self { address, weather, bitten, task }
    }

    /// Where it listens, as an endpoint of etcd.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port on which it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How often weather other than fair has touched something.
    pub(crate) fn bitten(&self) -> u64 {
        self.bitten.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// One connection, both ways.
struct Connection {
    weather: watch::Receiver<Weather>,
    bitten: Arc<AtomicU64>,
}

impl Connection {
    /// Passes on until either end, or the weather, ends it.
    async fn pass(self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut weather = self.weather.clone();
        let cut = async {
            // A proxy that is gone has no weather, and cuts too.
            let _gone = weather.wait_for(|now| *now == Weather::Cut).await;
            self.bitten.fetch_add(1, Ordering::Relaxed);
        };
        let both = async {
            tokio::join!(
                self.one_way(from_client, to_server, Way::In),
                self.one_way(from_server, to_client, Way::Out)
            )
        };
        tokio::select! {
            () = cut => {}
            _ = both => {}
        }
    }

    async fn one_way(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way) {
        let mut weather = self.weather.clone();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
            let now = *weather.borrow_and_update();
            if touches(now, way) {
                self.bitten.fetch_add(1, Ordering::Relaxed);
            }
            let data = &buffer[..read];
            let passed = match now {
                Weather::Slow(delay) => {
                    sleep(delay).await;
                    to.write_all(data).await
                }
                Weather::Trickle if way == Way::Out => drip(data, &mut to).await,
                Weather::Truncated if way == Way::Out => {
                    let _passed = to.write_all(&data[..read / 2]).await;
                    return;
                }
                Weather::Silence | Weather::AnswersLost if touches(now, way) => {
                    // What was lost stays lost: a stream with a hole is cut when the weather changes.
                    let _changed = weather.wait_for(|now| !touches(*now, way)).await;
                    return;
                }
                Weather::Cut => return,
                Weather::Fair
                | Weather::AnswersLost
                | Weather::Silence
                | Weather::Trickle
                | Weather::Truncated => to.write_all(data).await,
            };
            if passed.is_err() {
                return;
            }
        }
    }
}

/// Whether the weather is felt by what goes this way.
fn touches(weather: Weather, way: Way) -> bool {
    match weather {
        Weather::Fair => false,
        Weather::AnswersLost | Weather::Trickle | Weather::Truncated => way == Way::Out,
        Weather::Silence | Weather::Slow(_) | Weather::Cut => true,
    }
}

async fn drip(data: &[u8], to: &mut OwnedWriteHalf) -> std::io::Result<()> {
    for drop in data.chunks(DRIP) {
        to.write_all(drop).await?;
        sleep(DRIP_PAUSE).await;
    }
    Ok(())
}
