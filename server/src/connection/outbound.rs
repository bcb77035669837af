//! What is queued to one socket: bounded in messages and bytes.

use conclave_shared::wire::code::Code;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Messages that may wait for a socket: several seconds of a busy call.
pub(crate) const QUEUE_MESSAGES: usize = 256;
/// Bytes that may wait for a socket. One message that is larger is taken when nothing else waits (a `welcome` of a call
/// of 1,000 comes close).
pub(crate) const QUEUE_BYTES: usize = 1024 * 1024;

/// One thing to write.
#[derive(Debug)]
pub(crate) enum Item {
    /// A message.
    Text(Utf8Bytes),
    /// Messages that the log of a call shares with the connection: each is copied when its turn has come.
    Replay(Vec<Arc<str>>),
    /// The last thing: a close frame.
    Close(Code),
}

/// The end that calls write to. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
}

/// The end that the socket's writer reads from.
#[derive(Debug)]
pub(crate) struct Queue {
    items: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    /// Set when the queue is to be left as it is: what is wrong, and who is to hear of it.
    abort: OnceLock<Code>,
    aborted: Notify,
}

pub(crate) fn outbound() -> (Outbound, Queue) {
    let (queue, items) = mpsc::channel(QUEUE_MESSAGES);
    let shared = Arc::<Shared>::default();
    (Outbound { queue, shared: Arc::clone(&shared) }, Queue { items, shared })
}

impl Outbound {
    /// Queues a message; `false` when the client has fallen too far behind: then it is being closed.
    pub(crate) fn text(&self, text: Utf8Bytes) -> bool {
        let length = text.len();
        let before = self.shared.bytes.fetch_add(length, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(length) <= QUEUE_BYTES;
        if fits && self.queue.try_send(Item::Text(text)).is_ok() {
            return true;
        }
        self.shared.bytes.fetch_sub(length, Ordering::Relaxed);
        self.abort(Code::SlowConsumer);
        false
    }

    /// Queues what a member missed, as one item and not counted in bytes: a log has its own bound, which is larger than that
    /// of a queue, and a connection is given this once. `false` when the queue is full.
    pub(crate) fn replay(&self, texts: Vec<Arc<str>>) -> bool {
        let queued = self.queue.try_send(Item::Replay(texts)).is_ok();
        if !queued {
            self.abort(Code::SlowConsumer);
        }
        queued
    }

    /// Closes after everything that is queued, or at once when the queue is full.
    pub(crate) fn close(&self, code: Code) {
        if self.queue.try_send(Item::Close(code)).is_err() {
            self.abort(code);
        }
    }

    fn abort(&self, code: Code) {
        // The first reason stands.
        let _later = self.shared.abort.set(code);
        self.shared.aborted.notify_waiters();
    }
}

impl Queue {
    /// Waits for something to write and takes up to `most` of it; nothing when every [`Outbound`] is gone.
    pub(crate) async fn recv_many(&mut self, batch: &mut Vec<Item>, most: usize) -> usize {
        self.items.recv_many(batch, most).await
    }

    /// So many bytes were written.
    pub(crate) fn written(&self, bytes: usize) {
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What to listen to for the queue being given up.
    pub(crate) fn abort(&self) -> Abort {
        Abort(Arc::clone(&self.shared))
    }
}

/// Tells when the rest of a queue is to be dropped.
#[derive(Debug)]
pub(crate) struct Abort(Arc<Shared>);

impl Abort {
    pub(crate) async fn wait(&self) -> Code {
        loop {
            let notified = self.0.aborted.notified();
            if let Some(code) = self.0.abort.get() {
                return *code;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_in_messages_and_says_so_once() {
        let (outbound, mut queue) = outbound();
        for _ in 0..QUEUE_MESSAGES {
            assert!(outbound.text("x".into()));
        }
        assert!(!outbound.text("x".into()));
        outbound.close(Code::Removed);
        assert_eq!(queue.abort().wait().await, Code::SlowConsumer);
        let mut batch = Vec::new();
        assert_eq!(queue.recv_many(&mut batch, 1000).await, QUEUE_MESSAGES);
    }

    #[tokio::test]
    async fn a_replay_is_one_item_and_leaves_room_for_what_happens_meanwhile() {
        let (outbound, mut queue) = outbound();
        let texts: Vec<Arc<str>> = (0..2 * QUEUE_MESSAGES).map(|_| "x".repeat(QUEUE_BYTES / 100).into()).collect();
        assert!(outbound.replay(texts.clone()));
        for _ in 1..QUEUE_MESSAGES {
            assert!(outbound.text("x".into()));
        }
        let mut batch = Vec::new();
        assert_eq!(queue.recv_many(&mut batch, 1000).await, QUEUE_MESSAGES);
        assert!(matches!(&batch[0], Item::Replay(replayed) if *replayed == texts));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_takes_one_large_message() {
        let (outbound, queue) = outbound();
        assert!(outbound.text("x".repeat(2 * QUEUE_BYTES).into()));
        assert!(!outbound.text("x".into()));
        queue.written(2 * QUEUE_BYTES);
        assert!(outbound.text("x".repeat(QUEUE_BYTES - 1).into()));
        assert!(outbound.text("x".into()));
        assert!(!outbound.text("x".into()));
    }
}
