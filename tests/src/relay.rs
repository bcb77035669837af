//! The relay of a simulation: the real machine of a call, with what its sockets would do around it.

use conclave_server::call::{
    Admission, Call, CallConfig, CallInput, CallOutput, ConnectionId, JoinRequest, RestoreRequest, ResumeRequest,
};
use conclave_shared::{
    id::{CallName, RelayInstance, RelayNonce, Role, UserName},
    limits,
    time::Timestamp,
    wire::{Challenge, Refusal, ToRelay, Token, code::Code, decode, encode},
};
use std::{collections::BTreeMap, sync::Arc};

use crate::{PeerId, random::Dice};

/// One thing that the relay does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Sends a text.
    Send(PeerId, Arc<str>),
    /// Closes a connection after everything that was sent to it.
    Close(PeerId),
}

/// A relay with one call. A peer has one socket at a time, and every socket a number of its own: what an older one still
/// says, or its end that comes late, never touches a newer one.
pub struct Relay {
    name: CallName,
    instance: RelayInstance,
    dice: Dice,
    call: Option<Call>,
    /// How many lives the call has had: a call that everybody left is forgotten, numbers and all.
    pub life: u64,
    /// When this relay began: the machine's clock counts from there.
    began: Timestamp,
    sockets: u64,
    current: BTreeMap<PeerId, ConnectionId>,
    open: BTreeMap<ConnectionId, Socket>,
}

/// A socket that stands.
struct Socket {
    peer: PeerId,
    /// Of the challenge, until it is answered.
    nonce: Option<RelayNonce>,
}

impl Relay {
    /// A relay that nobody is connected to.
    #[must_use]
    pub fn new(name: CallName, mut dice: Dice) -> Self {
        Self {
            name,
            instance: RelayInstance::new(dice.bytes()),
            dice,
            call: None,
            life: 0,
            began: Timestamp::ZERO,
            sockets: 0,
            current: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// The relay is gone with all that it knew, and another one stands in its place. Returns whose sockets broke.
    pub fn restart(&mut self, now: Timestamp) -> Vec<PeerId> {
        self.instance = RelayInstance::new(self.dice.bytes());
        self.call = None;
        self.began = now;
        let current = std::mem::take(&mut self.current);
        let open = std::mem::take(&mut self.open);
        current.into_iter().filter(|(_, socket)| open.contains_key(socket)).map(|(peer, _)| peer).collect()
    }

    /// A socket opened: what the relay says first.
    pub fn connect(&mut self, peer: PeerId) -> Arc<str> {
        let nonce = RelayNonce::new(self.dice.bytes());
        self.sockets += 1;
        let socket = ConnectionId(self.sockets);
        self.current.insert(peer, socket);
        self.open.insert(socket, Socket { peer, nonce: Some(nonce) });
        encode(&conclave_shared::wire::ToClient::from(Challenge {
            versions: vec![limits::VERSION],
            nonce,
            relay: self.instance,
        }))
        .into()
    }

    /// The newest socket of a peer.
    #[must_use]
    pub fn socket(&self, peer: PeerId) -> Option<ConnectionId> {
        self.current.get(&peer).copied()
    }

    /// Whose socket it is, while it is open.
    #[must_use]
    pub fn peer_of(&self, socket: ConnectionId) -> Option<PeerId> {
        self.open.get(&socket).map(|socket| socket.peer)
    }

    /// A text came on a peer's newest socket.
    pub fn receive(&mut self, now: Timestamp, peer: PeerId, text: &str) -> Vec<Does> {
        self.socket(peer).map(|socket| self.receive_on(now, socket, text)).unwrap_or_default()
    }

    /// A text came on a socket.
    ///
    /// # Panics
    /// When an honest client sends what the relay cannot read.
    pub fn receive_on(&mut self, now: Timestamp, connection: ConnectionId, text: &str) -> Vec<Does> {
        let Some(socket) = self.open.get_mut(&connection) else {
            return Vec::new();
        };
        let (peer, nonce) = (socket.peer, socket.nonce.take());
        let message = decode::<ToRelay>(text, limits::COMMIT_LENGTH).expect("an honest client's message");
        let input = match (message, nonce) {
            (ToRelay::Join(join), Some(nonce)) => {
                let admission = admission(&self.name, &join.token);
                CallInput::Join(connection, Box::new(JoinRequest { admission, join, nonce }))
            }
            (ToRelay::Resume(resume), Some(nonce)) => {
                CallInput::Resume(connection, Box::new(ResumeRequest { resume, nonce }))
            }
            (ToRelay::Restore(restore), Some(nonce)) => {
                let admission = admission(&self.name, &restore.token);
                CallInput::Restore(connection, Box::new(RestoreRequest { admission, restore: *restore, nonce }))
            }
            (message, None) => CallInput::Received(connection, Box::new(message)),
            (message, Some(_)) => panic!("{peer:?} said {} before it joined", message.name()),
        };
        self.handle(now, input)
    }

    /// A peer's newest socket closed.
    pub fn disconnect(&mut self, now: Timestamp, peer: PeerId) -> Vec<Does> {
        self.socket(peer).map(|socket| self.lose(now, socket)).unwrap_or_default()
    }

    /// A socket closed.
    pub fn lose(&mut self, now: Timestamp, socket: ConnectionId) -> Vec<Does> {
        if self.open.remove(&socket).is_none() {
            return Vec::new();
        }
        self.handle(now, CallInput::Closed(socket))
    }

    /// When the machine wants to be woken.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let due = self.call.as_ref()?.next_timeout()?;
        Some(self.began + due.since(Timestamp::ZERO))
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Timestamp) -> Vec<Does> {
        self.handle(now, CallInput::Timeout)
    }

    fn handle(&mut self, now: Timestamp, input: CallInput) -> Vec<Does> {
        if self.call.is_none() {
            match &input {
                CallInput::Join(..) | CallInput::Restore(..) => self.life += 1,
                CallInput::Resume(socket, _) => return self.lost_seat(*socket),
                CallInput::Received(..) | CallInput::Refused(..) | CallInput::Closed(_) | CallInput::Timeout => {
                    return Vec::new();
                }
            }
        }
        let clock = Timestamp::ZERO + now.since(self.began);
        let call = self.call.get_or_insert_with(|| Call::new(self.name.clone(), CallConfig::new(self.instance)));
        let outputs = call.handle(clock, input);
        if call.is_over() {
            self.call = None;
        }
        outputs.into_iter().flat_map(|output| self.carry_out(output)).collect()
    }

    fn carry_out(&mut self, output: CallOutput) -> Vec<Does> {
        match output {
            CallOutput::Send { to, text } => self.send(to, text).into_iter().collect(),
            CallOutput::Broadcast { to, text } => {
                to.into_iter().filter_map(|to| self.send(to, Arc::clone(&text))).collect()
            }
            CallOutput::Replay { to, texts } => texts.into_iter().filter_map(|text| self.send(to, text)).collect(),
            CallOutput::Close { connection, .. } => {
                let newest = self.peer(connection).map(Does::Close);
                self.open.remove(&connection);
                newest.into_iter().collect()
            }
        }
    }

    fn send(&self, to: ConnectionId, text: Arc<str>) -> Option<Does> {
        self.peer(to).map(|peer| Does::Send(peer, text))
    }

    /// Who still listens on a socket: nobody on one that was given up for a newer one.
    fn peer(&self, socket: ConnectionId) -> Option<PeerId> {
        let peer = self.open.get(&socket)?.peer;
        (self.socket(peer) == Some(socket)).then_some(peer)
    }

    /// What a relay says to somebody who comes back to a call that is over.
    fn lost_seat(&mut self, socket: ConnectionId) -> Vec<Does> {
        let refusal = Refusal { code: Code::LostSeat, message: Code::LostSeat.sentence().to_owned() };
        let said = self.send(socket, encode(&conclave_shared::wire::ToClient::from(refusal)).into());
        let closed = self.carry_out(CallOutput::Close { connection: socket, code: Code::LostSeat });
        said.into_iter().chain(closed).collect()
    }
}

/// The token of a simulated user: its role and name, which the relay believes.
#[must_use]
pub fn token(user: &UserName, role: Role) -> Token {
    let role = match role {
        Role::LeadBot => "lead_bot",
        Role::Member => "member",
        Role::Recorder => "recorder",
    };
    Token(format!("{role} {user}"))
}

fn admission(call: &CallName, token: &Token) -> Admission {
    let (role, user) = token.0.split_once(' ').expect("a token of this simulator");
    let role = match role {
        "lead_bot" => Role::LeadBot,
        "recorder" => Role::Recorder,
        _ => Role::Member,
    };
    Admission { call: call.clone(), user: UserName::new(user).expect("a name"), role }
}
