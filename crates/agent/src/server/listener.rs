//! A listener whose connections end with the host's life, as those of a killed process do, encrypted or not.
//!
//! Guarantees: a client that begins a handshake and does not go on delays nobody; only so many are under way at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A handshake takes three round trips; one that takes longer than this is none.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// So many handshakes are under way at once; further connections wait in the kernel's queue.
const HANDSHAKES: usize = 64;

/// Accepts connections for one life.
pub(super) struct LifeListener {
    listener: TcpListener,
    end: CancellationToken,
    tls: Option<TlsAcceptor>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<(Connection, SocketAddr)>>>,
}

/// A connection of one life.
pub(super) struct LifeStream {
    stream: Connection,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum Connection {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl LifeListener {
    pub(super) fn new(
        listener: TcpListener,
        end: CancellationToken,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let tls = tls.map(TlsAcceptor::from);
        Self { listener, end, tls, handshakes: FuturesUnordered::new() }
    }

    async fn accept_any(&mut self) -> (Connection, SocketAddr) {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.next() => {
                    if let Some(accepted) = ended {
                        return accepted;
                    }
                }
                // axum's own implementation knows which errors of accept pass, and waits a second after the others.
                (stream, address) = Listener::accept(&mut self.listener),
                    if self.handshakes.len() < HANDSHAKES =>
                {
                    // Small answers must not wait for an acknowledgement; without it they are only slower.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    let Some(acceptor) = self.tls.clone() else {
                        return (Connection::Plain(stream), address);
                    };
                    self.handshakes.push(Box::pin(handshake(acceptor, stream, address)));
                }
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(Connection, SocketAddr)> {
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((Connection::Encrypted(Box::new(stream)), address)),
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a connection is refused");
            None
        }
        Err(_elapsed) => {
            tracing::debug!(%address, "a handshake takes too long");
            None
        }
    }
}

impl Listener for LifeListener {
    type Io = LifeStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.accept_any().await;
        (LifeStream { stream, end: Box::pin(self.end.clone().cancelled_owned()) }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl LifeStream {
    /// The connection, while the life lasts.
    fn living(&mut self, context: &mut Context<'_>) -> io::Result<&mut Connection> {
        if self.end.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(&mut self.stream)
    }
}

impl AsyncRead for LifeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.living(context)? {
            Connection::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Connection::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for LifeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.living(context)? {
            Connection::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Connection::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(context),
            Connection::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Connection::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.living(context)? {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Connection::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}
