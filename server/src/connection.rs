//! One socket: challenge, join, and then whatever the call makes of what it says.
//!
//! A reader and a writer share one task. The reader never writes; everything for the client goes through the bounded
//! [`mod@outbound`] queue. When either ends, so does the connection.

pub(crate) mod guard;
pub(crate) mod outbound;
mod reader;
mod writer;

use conclave_shared::{
    id::{RelayInstance, RelayNonce},
    limits::{COMMIT_LENGTH, FROM_RELAY_LENGTH, VERSION},
    wire::{Challenge, ToClient, code::Code, encode},
};
use futures_util::StreamExt as _;
use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Role, WebSocketConfig},
};

use self::{
    guard::{Guarded, Watch},
    outbound::{Outbound, outbound},
    reader::Reader,
    writer::Writer,
};
use crate::{address::Waiting, admission::Admissions, calls::Calls, config::Limits};

/// Bytes read at once: messages are mostly smaller, and a connection that is idle costs what its buffers cost.
const READ_BUFFER: usize = 4096;
/// Bytes gathered before they are written: a batch of small events goes out as one packet.
const WRITE_BUFFER: usize = 16 * 1024;
/// Bytes that may wait in a socket's write buffer: the largest message, on top of what is gathered.
const WRITE_BUFFER_MOST: usize = FROM_RELAY_LENGTH + 2 * WRITE_BUFFER;
/// How long a closing socket may take to send what is queued and to hear the other side's close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read and thrown away while closing: closing a socket with unread bytes would reset it, and the client
/// would never read why.
const CLOSE_DRAIN: usize = 4 * 1024 * 1024;

/// What all connections of a relay share.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) instance: RelayInstance,
    pub(crate) admissions: Admissions,
    pub(crate) calls: Arc<Calls>,
    pub(crate) limits: Limits,
    /// Turns true when the relay shuts down.
    pub(crate) closing: watch::Receiver<bool>,
}

/// Speaks the protocol on a socket until one side closes it.
pub(crate) async fn serve<Io>(io: Io, relay: Arc<Relay>, waiting: Arc<Waiting>)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let watch = Watch::default();
    let guarded = Guarded::new(io, watch.clone());
    let socket = WebSocketStream::from_raw_socket(guarded, Role::Server, Some(config())).await;
    let (mut sink, mut stream) = socket.split();
    let (outbound, queue) = outbound();
    let unanswered = Arc::new(AtomicU32::new(0));

    if waiting.may_connect() {
        let writer = Writer { queue, unanswered: Arc::clone(&unanswered), ping_every: relay.limits.ping_every };
        let reader = Reader::new(Arc::clone(&relay), outbound.clone(), watch, unanswered);
        let mut writing = std::pin::pin!(writer.run(&mut sink));
        tokio::select! {
            () = &mut writing => {}
            () = start(&relay, &outbound, reader, &mut stream, waiting) => {
                drop(outbound);
                let _late = timeout(CLOSE_TIME, writing).await;
            }
        }
    } else {
        let writer = Writer { queue, unanswered, ping_every: relay.limits.ping_every };
        refuse(&outbound, Code::TooManyConnections);
        let _late = timeout(CLOSE_TIME, writer.run(&mut sink)).await;
    }
    if let Ok(socket) = stream.reunite(sink) {
        drain(socket.into_inner().into_inner()).await;
    }
}

async fn start<S>(relay: &Relay, outbound: &Outbound, reader: Reader, stream: &mut S, waiting: Arc<Waiting>)
where
    S: reader::Messages,
{
    let mut nonce = [0; RelayNonce::LENGTH];
    if getrandom::fill(&mut nonce).is_err() {
        tracing::error!("the system gives no random bytes");
        return;
    }
    let nonce = RelayNonce::new(nonce);
    let challenge = Challenge { versions: vec![VERSION], nonce, relay: relay.instance };
    outbound.text(encode(&ToClient::from(challenge)).into());
    reader.run(stream, nonce, &waiting).await;
}

/// Says why, then closes.
fn refuse(outbound: &Outbound, code: Code) {
    refuse_because(outbound, code, code.sentence().to_owned());
}

fn refuse_because(outbound: &Outbound, code: Code, message: String) {
    let refusal = conclave_shared::wire::Refusal { code, message };
    if outbound.text(encode(&ToClient::from(refusal)).into()) {
        outbound.close(code);
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MOST)
        .max_message_size(Some(COMMIT_LENGTH))
        .max_frame_size(Some(COMMIT_LENGTH))
}

/// Reads what is still on its way until the client closes, for a moment.
async fn drain<Io: AsyncRead + AsyncWrite + Unpin>(mut io: Io) {
    let _late = timeout(CLOSE_TIME, async {
        if tokio::io::AsyncWriteExt::shutdown(&mut io).await.is_err() {
            return;
        }
        // On the heap: in the task it would cost every idle connection its size.
        let mut scratch = vec![0; READ_BUFFER];
        let mut read = 0;
        while read < CLOSE_DRAIN {
            match io.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(some) => read += some,
            }
        }
    })
    .await;
}
