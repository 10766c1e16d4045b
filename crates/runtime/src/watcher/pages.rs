//! Keys of a list that are being read: beside the next page's way from the server, and several portions at a time.
//!
//! Guarantees: keys come out in the order in which they went in. Of what is read, which weighs several times what it was
//! read from, only few portions are in memory at a time, whatever the list's length. On a runtime with one thread a page
//! is read at once and on the spot, so that the same history happens again in paused time.

use std::collections::VecDeque;
use std::future::pending;

use lochness_kv::KeyValue;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{PageReader, ViewSink};

/// So many keys are read at once: some milliseconds of work.
const PORTION: usize = 1_000;
/// So many portions are read, or wait to be taken in, at a time: enough for the processors of the usual machine.
const MOST: usize = 3;

pub(super) struct Pages<P> {
    reader: PageReader<P>,
    waiting: VecDeque<Vec<KeyValue>>,
    reading: VecDeque<JoinHandle<P>>,
    has_threads: bool,
}

impl<P: Send + 'static> Pages<P> {
    pub(super) fn new(reader: PageReader<P>) -> Self {
        let has_threads = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
        Self { reader, waiting: VecDeque::new(), reading: VecDeque::new(), has_threads }
    }

    /// Has the keys of a page read, once those of the page before it are.
    pub(super) async fn push(&mut self, kvs: Vec<KeyValue>, sink: &mut impl ViewSink<Page = P>) {
        if !self.has_threads {
            sink.page((self.reader)(kvs));
            return;
        }
        while !self.waiting.is_empty() {
            let page = self.next().await;
            sink.page(page);
        }
        let mut kvs = kvs.into_iter();
        while kvs.len() > 0 {
            self.waiting.push_back(kvs.by_ref().take(PORTION).collect());
        }
        self.start();
    }

    /// The next keys that are read; never, while none are being read. Nothing is lost when this is dropped.
    pub(super) async fn next(&mut self) -> P {
        let Some(first) = self.reading.front_mut() else { return pending().await };
        let page = first.await.expect("reading keys does not panic, and nobody aborts it");
        self.reading.pop_front();
        self.start();
        page
    }

    /// Hands on all that are left.
    pub(super) async fn finish(mut self, sink: &mut impl ViewSink<Page = P>) {
        while !self.reading.is_empty() {
            let page = self.next().await;
            sink.page(page);
        }
    }

    fn start(&mut self) {
        while self.reading.len() < MOST
            && let Some(kvs) = self.waiting.pop_front()
        {
            let reader = PageReader::clone(&self.reader);
            self.reading.push_back(spawn_blocking(move || reader(kvs)));
        }
    }
}
