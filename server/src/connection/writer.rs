//! From the queue to the socket, with as few writes as there can be; and the pings.

use conclave_shared::wire::code::Code;
use futures_util::{Sink, SinkExt as _};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    CLOSE_TIME,
    outbound::{Item, Queue},
};

/// Messages taken from the queue at once: they go out in one write, and none of them waits for long.
const BATCH: usize = 64;
/// Pings that may stay unanswered.
const MISSED_PINGS: u32 = 2;

pub(super) struct Writer {
    pub(super) queue: Queue,
    /// Pings since the client was last heard.
    pub(super) unanswered: Arc<AtomicU32>,
    pub(super) ping_every: Duration,
}

/// How a writer ends.
enum End {
    /// With a close frame.
    Close(Code),
    /// Nobody writes to the queue any more, or the socket is gone.
    Gone,
}

impl Writer {
    /// Writes until the connection is to be closed, and closes it.
    pub(super) async fn run<S>(mut self, sink: &mut S)
    where
        S: Sink<Message, Error = Error> + Unpin,
    {
        let end = self.write(sink).await;
        let frame = match end {
            End::Close(code) => CloseFrame { code: CloseCode::from(code.number()), reason: code.name().into() },
            End::Gone => CloseFrame { code: CloseCode::Normal, reason: "".into() },
        };
        // A client that is not there cannot be told.
        let _gone = timeout(CLOSE_TIME, sink.send(Message::Close(Some(frame)))).await;
    }

    async fn write<S>(&mut self, sink: &mut S) -> End
    where
        S: Sink<Message, Error = Error> + Unpin,
    {
        let mut ping = interval_at(tokio::time::Instant::now() + self.ping_every, self.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let abort = self.queue.abort();
        loop {
            tokio::select! {
                biased;
                code = abort.wait() => return End::Close(code),
                _ = ping.tick() => {
                    if self.unanswered.fetch_add(1, Ordering::Relaxed) >= MISSED_PINGS {
                        return End::Close(Code::Unresponsive);
                    }
                    if let Some(end) = self.guarded(sink.send(Message::Ping("".into()))).await {
                        return end;
                    }
                }
                taken = self.queue.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return End::Gone;
                    }
                    if let Some(end) = self.write_batch(sink, &mut batch).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Feeds all, flushes once.
    async fn write_batch<S>(&self, sink: &mut S, batch: &mut Vec<Item>) -> Option<End>
    where
        S: Sink<Message, Error = Error> + Unpin,
    {
        let mut bytes = 0;
        let mut close = None;
        for item in batch.drain(..) {
            match item {
                Item::Text(text) => {
                    bytes += text.len();
                    if let Some(end) = self.guarded(sink.feed(Message::Text(text))).await {
                        return Some(end);
                    }
                }
                Item::Replay(texts) => {
                    for text in texts {
                        let text = Utf8Bytes::from(&*text);
                        if let Some(end) = self.guarded(sink.feed(Message::Text(text))).await {
                            return Some(end);
                        }
                    }
                }
                Item::Close(code) => {
                    close = Some(End::Close(code));
                    break;
                }
            }
        }
        if let Some(end) = self.guarded(sink.flush()).await {
            return Some(end);
        }
        self.queue.written(bytes);
        close
    }

    /// Carries a write out, unless the queue is given up or the client does not read for as long as two pings take.
    async fn guarded(&self, write: impl Future<Output = Result<(), Error>>) -> Option<End> {
        let abort = self.queue.abort();
        tokio::select! {
            code = abort.wait() => Some(End::Close(code)),
            result = timeout(self.ping_every * MISSED_PINGS, write) => match result {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(End::Gone),
                Err(_) => Some(End::Close(Code::Unresponsive)),
            },
        }
    }
}
