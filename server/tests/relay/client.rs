//! A relay on a port of its own, and clients that say exactly what a test wants them to.

use conclave_server::{
    admission::mint,
    call::Admission,
    config::{Config, Secret},
};
use conclave_shared::{
    id::{CallName, Epoch, Joined, RelayNonce, Role, Term},
    wire::{
        Blob, Broadcast, Commit, ToClient, ToRelay, Token, Welcome,
        code::Code,
        decode, encode,
        signed::{Body, Signed},
    },
};
use futures_util::{SinkExt as _, StreamExt as _};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, net::TcpStream, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use crate::device::Device;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SECRET: &str = "a secret of the tests, and of nobody else";

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, change)
    }

    /// Another relay in the place of this one, which is gone without a word: no memory, the same address.
    pub(crate) async fn restart(self) -> Self {
        self.task.abort();
        let _aborted = self.task.await;
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of every system");
        socket.bind(self.address).expect("the port is free again");
        Self::on(socket.listen(64).expect("a listener"), |_| {})
    }

    fn on(listener: TcpListener, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::with_secret(secret());
        // All clients of a test come from one address; the bounds per address have tests of their own.
        config.limits.new_per_second_per_address = 10_000;
        config.limits.drain = Duration::from_millis(200);
        change(&mut config);
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A test that ends drops its end: the relay stops then, too.
            let _dropped = stopped.await;
        };
        let task = tokio::spawn(conclave_server::run(listener, config, shutdown));
        Self { address, stop, task }
    }

    /// A client that has read its challenge.
    pub(crate) async fn connect(&self) -> Client {
        let mut client = self.socket().await;
        let challenge = client.recv().await;
        let ToClient::Challenge(challenge) = challenge else { panic!("no challenge: {challenge:?}") };
        client.nonce = challenge.nonce;
        client
    }

    /// A client that has read nothing.
    pub(crate) async fn socket(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("the relay accepts");
        let (socket, _) = client_async(format!("ws://{}/v1/ws", self.address), stream).await.expect("an upgrade");
        Client { socket, nonce: RelayNonce::new([0; 32]) }
    }

    /// A client that has joined a call.
    pub(crate) async fn joined(&self, call: &CallName, seed: u8) -> Client {
        let mut client = self.connect().await;
        let device = Device::new(seed);
        let admission = Admission { call: call.clone(), user: device.user.clone(), role: Role::Member };
        let token = mint(&secret(), admission, Duration::from_secs(60)).expect("minted");
        client.send(&device.join(call, client.nonce, token).into()).await;
        client.until(|message| matches!(message, ToClient::Welcome(_))).await;
        client
    }

    /// A client that has joined, and what it was welcomed with.
    pub(crate) async fn member(&self, seed: u8) -> (Client, Welcome) {
        let mut client = self.connect().await;
        let device = Device::new(seed);
        client.send(&device.join(&call(), client.nonce, token(&device)).into()).await;
        let welcome = client.recv().await;
        let ToClient::Welcome(welcome) = welcome else { panic!("no welcome: {welcome:?}") };
        (client, welcome)
    }

    /// A call of two, the first of whom leads.
    pub(crate) async fn call(&self) -> Pair {
        let (mut lead, _) = self.member(1).await;
        lead.until(|message| matches!(message, ToClient::Lead(_))).await;
        let (member, _) = self.member(2).await;
        lead.until(|message| matches!(message, ToClient::Claimed(_))).await;
        Pair::new(lead, member)
    }
}

/// Two who talk to one another while somebody else misbehaves.
pub(crate) struct Pair {
    pub(crate) lead: Client,
    pub(crate) member: Client,
    n: u64,
}

impl Pair {
    pub(crate) const fn new(lead: Client, member: Client) -> Self {
        Self { lead, member, n: 0 }
    }

    /// The call goes on: what one says reaches the other, in both directions, and nothing was lost or said twice.
    pub(crate) async fn goes_on(&mut self) {
        self.n += 1;
        let body = body(self.n, None);
        self.lead.says(&body, &mut self.member).await;
        self.member.says(&body, &mut self.lead).await;
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) nonce: RelayNonce,
}

impl Client {
    pub(crate) async fn send(&mut self, message: &ToRelay) {
        self.text(encode(message)).await;
    }

    async fn says(&mut self, body: &Signed, to: &mut Self) {
        self.send(&body.clone().into()).await;
        let got = to.until(|message| matches!(message, ToClient::Body(_))).await;
        let ToClient::Body(got) = got else { panic!("{got:?}") };
        assert_eq!(got.signed, *body);
    }

    pub(crate) async fn text(&mut self, text: String) {
        self.message(Message::Text(text.into())).await;
    }

    pub(crate) async fn message(&mut self, message: Message) {
        self.socket.send(message).await.expect("the relay reads");
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        timeout(PATIENCE, self.socket.next()).await.expect("the relay answers in time")
    }

    /// The next message.
    pub(crate) async fn recv(&mut self) -> ToClient {
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => {
                    return decode(&text, usize::MAX).expect("the relay's messages decode");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// The next message of a kind; others are passed over.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&ToClient) -> bool) -> ToClient {
        loop {
            let message = self.recv().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The code of the error that comes next, whatever else comes before.
    pub(crate) async fn error(&mut self) -> Code {
        let error = self.until(|message| matches!(message, ToClient::Error(_))).await;
        let ToClient::Error(refusal) = error else { panic!("{error:?}") };
        assert!(!refusal.message.is_empty());
        refusal.code
    }

    /// Everything that still comes, and the code of the close frame.
    pub(crate) async fn closed(&mut self) -> (Vec<ToClient>, Option<u16>) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => messages.push(decode(&text, usize::MAX).expect("decodes")),
                Some(Ok(Message::Close(frame))) => return (messages, frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (messages, None),
            }
        }
    }

    /// The relay said why, and closed with the same code.
    pub(crate) async fn refused(&mut self) -> Code {
        let (messages, number) = self.closed().await;
        let Some(ToClient::Error(refusal)) = messages.last() else { panic!("no error: {messages:?} {number:?}") };
        assert_eq!(number, Some(refusal.code.number()));
        refusal.code
    }
}

pub(crate) fn call() -> CallName {
    CallName::new("demo").expect("a name")
}

pub(crate) fn secret() -> Secret {
    SECRET.parse().expect("long enough")
}

pub(crate) fn token(device: &Device) -> Token {
    token_as(device, Role::Member)
}

pub(crate) fn token_as(device: &Device, role: Role) -> Token {
    let admission = Admission { call: call(), user: device.user.clone(), role };
    mint(&secret(), admission, Duration::from_secs(60)).expect("minted")
}

/// A word that its sender leaves: no seat is kept.
pub(crate) fn leave() -> Signed {
    content(1, None, r#"{"leave":{}}"#)
}

pub(crate) fn body(n: u64, to: Option<Joined>) -> Signed {
    content(n, to, r#"{"rotate":{}}"#)
}

fn content(n: u64, to: Option<Joined>, content: &str) -> Signed {
    let content = serde_json::value::RawValue::from_string(content.into()).expect("JSON");
    Device::new(1).body(&Body { epoch: Epoch(Term(1), 0), n, to, content })
}

pub(crate) fn commit(epoch: (u32, u32), add: &[u64]) -> Commit {
    Commit {
        epoch: Epoch(Term(epoch.0), epoch.1),
        add: add.iter().copied().map(Joined).collect(),
        remove: vec![],
        lost: vec![],
        broadcast: Broadcast::Ratchet(Blob(vec![1; 300])),
        grants: vec![],
    }
}
