//! A member in this process, and everything that it was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{CALL, SECRET};
use conclave_client::{
    Client, Events, Joining,
    again::TokenSource,
    store::Store,
    token::{Grant, Issuer},
    transport::RelayUrl,
};
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened},
    id::{CallName, Epoch, Fingerprint, Joined, Role, UserName},
    session::{
        Profile,
        config::Config,
        error::SecurityEvent,
        output::{EpochInfo, Event, Link, MemberInfo},
    },
    wire::Token,
};

/// Longer than anything takes, even where two cores are shared by many.
const PATIENCE: Duration = Duration::from_secs(45);

/// What a member was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) me: Option<Joined>,
    pub(crate) epochs: BTreeMap<Epoch, EpochInfo>,
    pub(crate) active: Option<Epoch>,
    pub(crate) lead: Option<Joined>,
    pub(crate) lead_changes: usize,
    pub(crate) left: Vec<Joined>,
    pub(crate) rejoins: usize,
    pub(crate) ups: Vec<Instant>,
    pub(crate) messages: Vec<String>,
    pub(crate) security: Vec<String>,
    refused: Vec<String>,
    pub(crate) ended: Option<String>,
}

impl Told {
    fn take(&mut self, event: Event) {
        match event {
            Event::Seated { joined, .. } => self.me = Some(joined),
            Event::Epoch(info) => drop(self.epochs.insert(info.epoch, info)),
            Event::Active(epoch) => self.active = Some(epoch),
            Event::LeadChanged { joined, .. } => {
                self.lead = Some(joined);
                self.lead_changes += 1;
            }
            Event::MemberLeft { joined, .. } => self.left.push(joined),
            Event::Link(Link::Rejoining) => {
                self.rejoins += 1;
                (self.active, self.epochs) = (None, BTreeMap::new());
            }
            Event::Link(Link::Up) => self.ups.push(Instant::now()),
            Event::Message { payload, .. } => self.messages.push(String::from_utf8_lossy(&payload.0).into_owned()),
            // True where nothing comes through for longer than a lead is silent.
            Event::Security(SecurityEvent::LeadSilent { .. }) => {}
            Event::Security(what) => self.security.push(what.to_string()),
            Event::Refused { message, .. } => self.refused.push(message),
            Event::CommandFailed(error) => self.refused.push(error.to_string()),
            Event::Ended(reason) => self.ended = Some(format!("{reason:?}")),
            _ => {}
        }
    }

    /// What this member seals under: the epoch, and what its key looks like.
    pub(crate) fn key(&self) -> Option<(Epoch, Fingerprint)> {
        let epoch = self.active?;
        Some((epoch, self.epochs.get(&epoch)?.fingerprint))
    }

    /// The key, and how often the lead changed: as before, when nothing happened.
    pub(crate) fn standing(&self) -> (Option<(Epoch, Fingerprint)>, usize) {
        (self.key(), self.lead_changes)
    }

    /// How often somebody was out: others, or this one.
    pub(crate) fn losses(&self) -> usize {
        self.left.len() + self.rejoins
    }

    /// Where this member stands, in a line for whoever reads of a failure.
    pub(crate) fn stands(&self) -> String {
        let roster: Vec<_> = self.roster().iter().map(|member| (member.joined.0, member.user.as_str())).collect();
        format!(
            "{:?} active {:?} roster {roster:?} lead {:?} left {:?} rejoins {} ups {} messages {:?} refused {:?} security {:?} ended {:?}",
            self.me,
            self.active,
            self.lead,
            self.left,
            self.rejoins,
            self.ups.len(),
            self.messages,
            self.refused,
            self.security,
            self.ended
        )
    }

    /// Who is in the epoch that this member seals under.
    pub(crate) fn roster(&self) -> &[Arc<MemberInfo>] {
        self.active.and_then(|epoch| self.epochs.get(&epoch)).map_or(&[], |info| &info.members)
    }
}

/// A member. It leaves when this is dropped.
pub(crate) struct Member {
    pub(crate) client: Client,
    told: Arc<Mutex<Told>>,
}

fn token(user: &str) -> Token {
    let (call, user) = (CallName::new(CALL).expect("a call"), UserName::new(user).expect("a user"));
    let grant = Grant { call: &call, user: &user, role: Role::Member, lifetime: Duration::from_secs(60) };
    Issuer::secret(SECRET).expect("long enough").issue(&grant).expect("a token")
}

impl Member {
    /// Joins; `None` while there is no relay.
    pub(crate) async fn try_join(url: &str, user: &str) -> Option<Self> {
        let relay: RelayUrl = url.parse().expect("an address");
        let name = UserName::new(user).expect("a user");
        let call = CallName::new(CALL).expect("a call");
        let again = user.to_owned();
        let joining = Joining {
            device: Store::memory().open().expect("a device"),
            store: None,
            profile: Profile { call, user: name.clone(), name, token: token(user) },
            tokens: TokenSource::made_by(move || Ok(token(&again))),
            config: Config::default(),
        };
        let (client, events) = Client::connect(relay, joining).await.ok()?;
        let told = Arc::new(Mutex::new(Told::default()));
        tokio::spawn(listen(events, told.clone()));
        Some(Self { client, told })
    }

    /// Joins, as soon as there is a relay.
    pub(crate) async fn join(url: &str, user: &str) -> Self {
        loop {
            if let Some(member) = Self::try_join(url, user).await {
                return member;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no test panics while it holds this")
    }

    /// Whether a frame of this member opens at that one.
    pub(crate) fn is_seen_by(&self, other: &Self) -> bool {
        let plain = b"a small frame";
        let (Ok(sealed), Some(seat)) = (self.client.seal(Codec::Opus, plain), self.client.seat()) else { return false };
        matches!(other.client.open(seat, Codec::Opus, &sealed, 0), Opened::Frame(opened) if opened == plain)
    }
}

async fn listen(mut events: Events, told: Arc<Mutex<Told>>) {
    while let Some(event) = events.next().await {
        told.lock().expect("no test panics while it holds this").take(event);
    }
}

/// Waits until all these seal under one key of an epoch with so many members.
pub(crate) fn agree(members: &[Member], count: usize) -> Epoch {
    let key = |member: &Member| {
        let told = member.told();
        (told.roster().len() == count).then(|| told.key()).flatten()
    };
    let agreed = || {
        let first = key(members.first()?)?;
        members.iter().all(|member| key(member) == Some(first)).then_some(first.0)
    };
    wait_told(&format!("an epoch of {count} members"), members, || agreed().is_some());
    // Another epoch may have begun meanwhile: agreed once is agreed.
    members.first().and_then(|member| member.told().active).expect("it was there")
}

/// Waits until something is so; when it does not become so, says where everybody stands.
pub(crate) fn wait_told(what: &str, members: &[Member], ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        if began.elapsed() > PATIENCE {
            members.iter().for_each(|member| println!("{}", member.told().stands()));
            panic!("{what} did not come within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Of frames from each to the next, all around: how many, and how many did not open.
pub(crate) fn frames_around(members: &[Member]) -> (usize, usize) {
    let pairs = members.iter().zip(members.iter().cycle().skip(1));
    let failed = pairs.filter(|(from, to)| !from.is_seen_by(to)).count();
    (members.len(), failed)
}

/// Nobody is alarmed and nobody is out.
pub(crate) fn assert_calm(members: &[Member]) {
    for member in members {
        let told = member.told();
        assert!(told.security.is_empty(), "{:?}: {:?}", told.me, told.security);
        assert_eq!(told.ended, None, "{:?}", told.me);
    }
}
