//! The relay of a simulation: the real machine of a call, with what its sockets would do around it.

use conclave_server::call::{Admission, Call, CallConfig, CallInput, CallOutput, ConnectionId, JoinRequest};
use conclave_shared::{
    id::{CallName, RelayInstance, RelayNonce, Role, UserName},
    limits,
    time::Timestamp,
    wire::{Challenge, ToRelay, Token, decode, encode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{PeerId, random::Dice};

/// One thing that the relay does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Sends a text.
    Send(PeerId, Arc<str>),
    /// Closes a connection after everything that was sent to it.
    Close(PeerId),
}

/// A relay with one call.
pub struct Relay {
    name: CallName,
    instance: RelayInstance,
    dice: Dice,
    call: Option<Call>,
    /// How many lives the call has had: a call that everybody left is forgotten, numbers and all.
    pub life: u64,
    challenged: BTreeMap<PeerId, RelayNonce>,
    closed: BTreeSet<PeerId>,
}

impl Relay {
    /// A relay that nobody is connected to.
    #[must_use]
    pub fn new(name: CallName, mut dice: Dice) -> Self {
        let instance = RelayInstance::new(dice.bytes());
        Self { name, instance, dice, call: None, life: 0, challenged: BTreeMap::new(), closed: BTreeSet::new() }
    }

    /// A socket opened: what the relay says first.
    pub fn connect(&mut self, peer: PeerId) -> Arc<str> {
        let nonce = RelayNonce::new(self.dice.bytes());
        self.challenged.insert(peer, nonce);
        encode(&conclave_shared::wire::ToClient::from(Challenge {
            versions: vec![limits::VERSION],
            nonce,
            relay: self.instance,
        }))
        .into()
    }

    /// A text came.
    ///
    /// # Panics
    /// When an honest client sends what the relay cannot read.
    pub fn receive(&mut self, now: Timestamp, peer: PeerId, text: &str) -> Vec<Does> {
        if self.closed.contains(&peer) {
            return Vec::new();
        }
        let message = decode::<ToRelay>(text, limits::COMMIT_LENGTH).expect("an honest client's message");
        let connection = ConnectionId(peer.0);
        let input = match (message, self.challenged.remove(&peer)) {
            (ToRelay::Join(join), Some(nonce)) => {
                let admission = admission(&self.name, &join.token);
                CallInput::Join(connection, Box::new(JoinRequest { admission, join, nonce }))
            }
            (message, None) => CallInput::Received(connection, Box::new(message)),
            (message, Some(_)) => panic!("{peer:?} said {} before it joined", message.name()),
        };
        self.handle(now, input)
    }

    /// A socket closed.
    pub fn disconnect(&mut self, now: Timestamp, peer: PeerId) -> Vec<Does> {
        self.challenged.remove(&peer);
        if !self.closed.insert(peer) {
            return Vec::new();
        }
        self.handle(now, CallInput::Closed(ConnectionId(peer.0)))
    }

    /// When the machine wants to be woken.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.call.as_ref().and_then(Call::next_timeout)
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Timestamp) -> Vec<Does> {
        self.handle(now, CallInput::Timeout)
    }

    fn handle(&mut self, now: Timestamp, input: CallInput) -> Vec<Does> {
        if self.call.is_none() {
            if !matches!(input, CallInput::Join(..)) {
                return Vec::new();
            }
            self.life += 1;
        }
        let call = self.call.get_or_insert_with(|| Call::new(self.name.clone(), CallConfig::new(self.instance)));
        let mut does = Vec::new();
        for output in call.handle(now, input) {
            match output {
                CallOutput::Send { to, text } => does.push(Does::Send(PeerId(to.0), text)),
                CallOutput::Broadcast { to, text } => {
                    does.extend(to.into_iter().map(|to| Does::Send(PeerId(to.0), Arc::clone(&text))));
                }
                CallOutput::Close { connection, .. } => {
                    self.closed.insert(PeerId(connection.0));
                    does.push(Does::Close(PeerId(connection.0)));
                }
            }
        }
        if call.is_over() {
            self.call = None;
        }
        does
    }
}

/// The token of a simulated user: its role and name, which the relay believes.
#[must_use]
pub fn token(user: &UserName, role: Role) -> Token {
    let role = match role {
        Role::LeadBot => "lead_bot",
        Role::Member => "member",
    };
    Token(format!("{role} {user}"))
}

fn admission(call: &CallName, token: &Token) -> Admission {
    let (role, user) = token.0.split_once(' ').expect("a token of this simulator");
    let role = if role == "lead_bot" { Role::LeadBot } else { Role::Member };
    Admission { call: call.clone(), user: UserName::new(user).expect("a name"), role }
}
