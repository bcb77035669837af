//! Members whose keys are all noted.

use conclave_client::{
    driver::{Driver, Observer, Request},
    token::{Grant, Issuer},
    transport::Transport,
};
use conclave_shared::{
    id::{CallName, Role, UserName},
    identity::device::Device,
    session::{
        Profile, Session,
        config::Config,
        error::SecurityEvent,
        input::Command,
        output::{Event, KeyUpdate},
    },
};
use std::sync::Arc;
use tokio::{sync::mpsc, time::Instant};

use super::search::Keys;
use crate::{PATIENCE, SECRET};

/// Notes every key that a member is given, and every one that it holds.
struct Watch {
    keys: Keys,
    events: mpsc::UnboundedSender<Event>,
}

impl Observer for Watch {
    fn keys(&mut self, update: KeyUpdate) {
        if let KeyUpdate::Install { media, senders, .. } = &update {
            let mut keys = self.keys.lock().expect("no panic");
            keys.insert(media.expose().to_vec());
            let senders = senders.iter().map(|(seat, sender)| media.sender::<16>(*seat, sender));
            keys.extend(senders.map(|key| key.expose().to_vec()));
        }
    }

    fn event(&mut self, session: &mut Session, event: Event) {
        let secrets = session.secrets();
        self.keys.lock().expect("no panic").extend(secrets.iter().map(|secret| secret.to_vec()));
        // Nobody may be listening any more.
        let _ = self.events.send(event);
    }
}

pub(crate) struct Member {
    requests: mpsc::Sender<Request>,
    events: mpsc::UnboundedReceiver<Event>,
    /// What it was warned of.
    alarms: Vec<SecurityEvent>,
}

impl Member {
    pub(crate) async fn join(url: &str, user: &str, keys: &Keys) -> Self {
        let (call, user) = (CallName::new("watched").expect("a name"), UserName::new(user).expect("a name"));
        let grant = Grant { call: &call, user: &user, role: Role::Member, lifetime: PATIENCE };
        let token = Issuer::secret(SECRET).expect("long enough").issue(&grant).expect("a token");
        let (requests, asked) = mpsc::channel(8);
        let (sender, events) = mpsc::unbounded_channel();
        let profile = Profile { call, name: UserName::new("device").expect("a name"), user, token };
        let mut session = Session::new(Device::generate().expect("random bytes"), profile, Config::default());
        session.hoard(8);
        let driver = Driver {
            session,
            transport: Transport::connect(&url.parse().expect("an address")).await.expect("a connection"),
            requests: asked,
            store: None,
            observer: Watch { keys: Arc::clone(keys), events: sender },
            began: Instant::now(),
            again: None,
        };
        tokio::spawn(driver.run());
        Self { requests, events, alarms: vec![] }
    }

    /// The next thing it is told.
    async fn next(&mut self, what: &str) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("{what} did not come: {:?}", self.alarms));
        let event = event.unwrap_or_else(|| panic!("the session is over before {what}: {:?}", self.alarms));
        if let Event::Security(alarm) = &event {
            self.alarms.push(*alarm);
        }
        event
    }

    /// Waits until this many are in and seal under it.
    pub(crate) async fn among(&mut self, members: usize) {
        let mut newest = None;
        loop {
            match self.next("the epoch").await {
                Event::Epoch(info) if info.members.len() == members => newest = Some(info.epoch),
                Event::Active(epoch) if newest == Some(epoch) => return,
                _ => {}
            }
        }
    }

    /// Waits until it was warned of this.
    pub(crate) async fn warned(&mut self, what: &str, wanted: impl Fn(&SecurityEvent) -> bool) {
        while !self.alarms.iter().any(&wanted) {
            self.next(what).await;
        }
        self.alarms.clear();
    }

    pub(crate) async fn ask(&self, command: Command) {
        self.requests.send(Request::Command(command)).await.expect("running");
    }
}
