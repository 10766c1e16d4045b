//! A TCP proxy that can be told to misbehave: between an operator and etcd, or an operator and an agent.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the proxy does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything passes.
    Fair,
    /// Connections stay open, and nothing passes from the server: what is asked happens, and the answer is lost.
    AnswersLost,
    /// Connections stay open, and nothing passes either way.
    Silence,
}

/// Listens, and passes on.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    task: AbortHandle,
}

impl Proxy {
    /// A proxy before `target`, which is `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let (target, seen) = (target.to_owned(), Arc::clone(&weather));
        let serving = async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                connections.spawn(pass(from_client, to_server, seen.subscribe(), Way::In));
                connections.spawn(pass(from_server, to_client, seen.subscribe(), Way::Out));
            }
        };
        let task = tokio::runtime::Handle::current().spawn(serving).abort_handle();
        Self { address, weather, task }
    }

    /// Where it listens, as an endpoint of etcd.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
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

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let blocked = move |weather: &Weather| match weather {
            Weather::Fair => false,
            Weather::AnswersLost => way == Way::Out,
            Weather::Silence => true,
        };
        // What was lost stays lost: a stream with a hole is cut when the weather is fair again.
        if blocked(&weather.borrow_and_update()) {
            let _ended = weather.wait_for(|now| !blocked(now)).await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
