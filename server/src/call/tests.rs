//! Every rule of the machine, with real signatures and no socket.

#[path = "../../tests/support/device.rs"]
mod device;
mod joining;
mod leading;
mod passing;
mod restoring;
mod resuming;
mod silence;

use conclave_shared::{
    id::{CallName, Epoch, Joined, RelayInstance, RelayNonce, Role, Signature, Term},
    time::Timestamp,
    wire::{
        Blob, Broadcast, Commit, OlmMessage, Ping, ToClient, ToRelay, Token, Welcome,
        code::Code,
        decode,
        signed::{Body, JoinProof, Signed},
    },
};
use std::{collections::BTreeMap, time::Duration};

use self::device::Device;
use super::{
    Admission, Call, CallConfig, CallInput, CallOutput, ConnectionId, GRACE, JoinRequest, RestoreRequest, ResumeRequest,
};

const RELAY: RelayInstance = RelayInstance::new([7; 16]);

/// A call and what its connections were sent.
struct Room {
    call: Call,
    now: Timestamp,
    inbox: BTreeMap<u64, Vec<ToClient>>,
    closed: BTreeMap<u64, Code>,
    /// How many texts were encoded for the last input.
    encoded: usize,
}

impl Room {
    fn new() -> Self {
        Self::with(CallConfig::new(RELAY))
    }

    fn with(config: CallConfig) -> Self {
        let call = Call::new(name(), config);
        Self { call, now: Timestamp::from_millis(1), inbox: BTreeMap::new(), closed: BTreeMap::new(), encoded: 0 }
    }

    fn input(&mut self, input: CallInput) {
        let outputs = self.call.handle(self.now, input);
        self.encoded = outputs.iter().filter(|output| !matches!(output, CallOutput::Close { .. })).count();
        for output in outputs {
            match output {
                CallOutput::Send { to, text } => self.deliver(to, &text),
                CallOutput::Replay { to, texts } => texts.iter().for_each(|text| self.deliver(to, text)),
                CallOutput::Broadcast { to, text } => to.iter().for_each(|to| self.deliver(*to, &text)),
                CallOutput::Close { connection, code } => {
                    assert_eq!(self.closed.insert(connection.0, code), None, "closed once");
                }
            }
        }
    }

    fn deliver(&mut self, to: ConnectionId, text: &str) {
        assert!(!self.closed.contains_key(&to.0), "nothing after a close");
        self.inbox.entry(to.0).or_default().push(decode(text, usize::MAX).expect("what the relay says decodes"));
    }

    /// Lets time pass as a driver does, with a lead that is heard every second.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass_silently(until.since(self.now).min(Duration::from_secs(1)));
            if let Some(lead) = self.call.lead_connection() {
                self.say(lead.0, Ping { n: 0 });
                let pong = self.inbox.get_mut(&lead.0).and_then(Vec::pop);
                assert!(matches!(pong, Some(ToClient::Pong(_))));
            }
        }
    }

    /// Lets time pass, and nobody says anything.
    fn pass_silently(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.call.next_timeout().filter(|due| *due <= until) {
            let before = (self.now, self.call.next_timeout());
            self.now = self.now.max(due);
            self.input(CallInput::Timeout);
            assert_ne!(before, (self.now, self.call.next_timeout()), "woken for nothing, again and again");
        }
        self.now = until;
    }

    /// The relay is stopped for so long, and then woken.
    fn freeze(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(CallInput::Timeout);
    }

    /// Everybody is gone whose time of grace has begun.
    fn grace_ends(&mut self) {
        self.pass(GRACE);
    }

    /// What came since the last look.
    fn take(&mut self, connection: u64) -> Vec<ToClient> {
        self.inbox.remove(&connection).unwrap_or_default()
    }

    fn forget(&mut self) {
        self.inbox.clear();
    }

    fn join(&mut self, connection: u64, device: &Device, role: Role) {
        self.input(join(connection, device, role));
    }

    /// Joins and gives the welcome.
    fn member(&mut self, connection: u64) -> Welcome {
        self.role(connection, Role::Member)
    }

    fn role(&mut self, connection: u64, role: Role) -> Welcome {
        self.join(connection, &Device::new(u8::try_from(connection).expect("small")), role);
        let first = self.inbox.get(&connection).and_then(|inbox| inbox.first());
        let Some(ToClient::Welcome(welcome)) = first else { panic!("no welcome: {:?}", self.inbox) };
        welcome.clone()
    }

    fn say(&mut self, connection: u64, message: impl Into<ToRelay>) {
        self.input(CallInput::Received(ConnectionId(connection), Box::new(message.into())));
    }

    fn close(&mut self, connection: u64) {
        self.input(CallInput::Closed(ConnectionId(connection)));
    }

    /// A signed word that this member leaves.
    fn leave(&mut self, connection: u64) {
        self.say(connection, body_of(connection, None, r#"{"leave":{}}"#));
    }

    /// The lead commits; members are named by their order number.
    fn commit(&mut self, connection: u64, epoch: (u32, u32), add: &[u64], remove: &[u64]) {
        self.say(connection, commit(epoch, add, remove, &[]));
    }

    fn errors(&mut self, connection: u64) -> Vec<Code> {
        let error = |message| if let ToClient::Error(refusal) = message { Some(refusal.code) } else { None };
        self.take(connection).into_iter().filter_map(error).collect()
    }
}

fn name() -> CallName {
    CallName::new("demo").expect("a name")
}

fn nonce(connection: u64) -> RelayNonce {
    RelayNonce::new([u8::try_from(connection).expect("small"); 32])
}

fn request(connection: u64, device: &Device, role: Role) -> JoinRequest {
    let admission = Admission { call: name(), user: device.user.clone(), role };
    let nonce = nonce(connection);
    JoinRequest { admission, join: device.join(&name(), nonce, Token(String::new())), nonce }
}

fn join(connection: u64, device: &Device, role: Role) -> CallInput {
    CallInput::Join(ConnectionId(connection), Box::new(request(connection, device, role)))
}

fn body_of(seed: u64, to: Option<u64>, content: &str) -> Signed {
    let content = serde_json::value::RawValue::from_string(content.into()).expect("JSON");
    let device = Device::new(u8::try_from(seed).expect("small"));
    device.body(&Body { epoch: Epoch(Term(1), 0), n: 1, to: to.map(Joined), content })
}

fn commit(epoch: (u32, u32), add: &[u64], remove: &[u64], grants: &[(u64, u8)]) -> Commit {
    Commit {
        epoch: Epoch(Term(epoch.0), epoch.1),
        add: add.iter().copied().map(Joined).collect(),
        remove: remove.iter().copied().map(Joined).collect(),
        lost: Vec::new(),
        broadcast: Broadcast::Ratchet(Blob(vec![1, 2, 3])),
        grants: grants.iter().map(|(joined, byte)| (Joined(*joined), OlmMessage(1, Blob(vec![*byte])))).collect(),
    }
}

fn names(messages: &[ToClient]) -> Vec<&'static str> {
    messages.iter().map(ToClient::name).collect()
}

/// Numbers of the events among the messages.
fn numbers(messages: &[ToClient]) -> Vec<u64> {
    let at = |message: &ToClient| match message {
        ToClient::Welcome(event) => Some(event.at),
        ToClient::Joined(event) => Some(event.at),
        ToClient::Left(event) => Some(event.at),
        ToClient::Lead(event) => Some(event.at),
        ToClient::Commit(event) => Some(event.at),
        ToClient::Ack(event) => Some(event.at),
        ToClient::Olm(event) => Some(event.at),
        ToClient::Body(event) => Some(event.at),
        ToClient::Away(event) => Some(event.at),
        ToClient::Back(event) => Some(event.at),
        ToClient::Challenge(_)
        | ToClient::Resumed(_)
        | ToClient::Pong(_)
        | ToClient::Claimed(_)
        | ToClient::KeysLow(_)
        | ToClient::Error(_)
        | ToClient::Closing(_) => None,
    };
    messages.iter().filter_map(at).map(|at| if at.0 == RELAY { at.1.0 } else { panic!("another relay") }).collect()
}

fn spoiled(signature: Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    bytes[0] ^= 1;
    Signature::new(bytes)
}

fn proof_of(room: &Welcome, joined: u64) -> JoinProof {
    room.members.iter().find(|member| member.joined == Joined(joined)).expect("listed").proof.clone()
}
