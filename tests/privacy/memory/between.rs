//! What lies between the members and an honest relay: to the members a relay that lies, to the relay members that cheat.

use conclave_shared::{
    limits,
    wire::{self, ToClient},
};
use futures_util::{SinkExt, StreamExt};
use std::sync::{Arc, Mutex};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

/// What becomes of a message to a member, by the number of its connection.
type Lie = Box<dyn FnMut(usize, ToClient) -> Vec<ToClient> + Send>;

/// What is known of a connection.
struct Line {
    /// Says something to the relay in its member's name.
    say: mpsc::UnboundedSender<Message>,
    /// What the relay said to it, as it was.
    heard: Vec<ToClient>,
    /// What its member said.
    said: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Between {
    pub(crate) url: String,
    /// The relay behind it.
    pub(crate) relay: String,
    lie: Arc<Mutex<Lie>>,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Between {
    pub(crate) async fn to(relay: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("an address"));
        let between = Self { url, relay: relay.to_owned(), lie: Arc::new(Mutex::new(honest())), lines: Arc::default() };
        let (carrier, relay) = (between.clone(), format!("{relay}/v1/ws"));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carrier.clone().carry(near, relay.clone()));
            }
        });
        between
    }

    async fn carry(self, near: TcpStream, relay: String) {
        let mut near = accept_async(near).await.expect("a WebSocket");
        let (mut far, _) = connect_async(relay).await.expect("the relay is there");
        let (say, mut saying) = mpsc::unbounded_channel();
        let number = {
            let mut lines = self.lines.lock().expect("no panic");
            lines.push(Line { say, heard: Vec::new(), said: Vec::new() });
            lines.len() - 1
        };
        loop {
            tokio::select! {
                message = near.next() => {
                    let Some(Ok(message)) = message else { break };
                    if let Message::Text(text) = &message {
                        self.lines.lock().expect("no panic")[number].said.push(text.to_string());
                    }
                    if far.send(message).await.is_err() { break }
                }
                message = far.next() => {
                    let Some(Ok(message)) = message else { break };
                    for message in self.twist(number, message) {
                        // One that went away is noticed by what it says next: nothing.
                        let _ = near.send(message).await;
                    }
                }
                Some(message) = saying.recv() => {
                    // The relay may have closed it for what was said before.
                    let _ = far.send(message).await;
                }
            }
        }
    }

    fn twist(&self, number: usize, message: Message) -> Vec<Message> {
        let Message::Text(text) = &message else { return vec![message] };
        let heard: ToClient = wire::decode(text, limits::FROM_RELAY_LENGTH).expect("what a relay says");
        self.lines.lock().expect("no panic")[number].heard.push(heard.clone());
        let told = (self.lie.lock().expect("no panic"))(number, heard);
        told.iter().map(|message| Message::text(wire::encode(message))).collect()
    }

    /// The relay does this to what it delivers, until it is honest again.
    pub(crate) fn lies(&self, lie: impl FnMut(usize, ToClient) -> Vec<ToClient> + Send + 'static) {
        *self.lie.lock().expect("no panic") = Box::new(lie);
    }

    pub(crate) fn stops(&self) {
        *self.lie.lock().expect("no panic") = honest();
    }

    /// The next message of a kind to this member is another, once.
    pub(crate) fn lies_once(
        &self,
        to: usize,
        mut lie: impl FnMut(&ToClient) -> Option<Vec<ToClient>> + Send + 'static,
    ) {
        let mut lied = false;
        self.lies(move |number, message| {
            let told = if number == to && !lied { lie(&message) } else { None };
            lied |= told.is_some();
            told.unwrap_or_else(|| vec![message])
        });
    }

    /// Somebody says this to the relay on this connection.
    pub(crate) fn say(&self, number: usize, message: Message) {
        self.lines.lock().expect("no panic")[number].say.send(message).expect("it is connected");
    }

    /// The newest of a kind that the relay said to a member.
    pub(crate) fn heard<T>(&self, number: usize, wanted: impl Fn(&ToClient) -> Option<T>) -> T {
        self.lines.lock().expect("no panic")[number].heard.iter().rev().find_map(wanted).expect("it heard one")
    }

    /// Whether the relay has said this to a member.
    pub(crate) fn has_heard(&self, number: usize, wanted: impl Fn(&ToClient) -> bool) -> bool {
        self.lines.lock().expect("no panic")[number].heard.iter().any(wanted)
    }

    /// The newest of a kind that a member said.
    pub(crate) fn said(&self, number: usize, kind: &str) -> String {
        let lines = self.lines.lock().expect("no panic");
        let kind = format!("{{\"{kind}\":");
        lines[number].said.iter().rev().find(|text| text.starts_with(&kind)).expect("it said one").clone()
    }
}

fn honest() -> Lie {
    Box::new(|_, message| vec![message])
}
