//! A real relay on a free port, and members whose events can be waited for.

// Each test program uses its own part of this. Helpers of tests may fail as tests do.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use conclave_client::{
    Client, Events, Joining,
    again::{Relays, TokenSource},
    store::Store,
    token::{Grant, Issuer},
    transport::RelayUrl,
};
use conclave_server::config::{Config as RelayConfig, Secret};
use conclave_shared::{
    id::{CallName, Joined, Role, UserName},
    session::{
        Profile,
        config::Config,
        output::{EpochInfo, Event},
    },
    wire::Token,
};

pub(crate) const SECRET: &str = "a secret that only these tests know";
pub(crate) const CALL: &str = "demo";
/// Longer than anything takes, even where two cores are shared by many.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut config = RelayConfig::with_secret(SECRET.parse::<Secret>().expect("long enough"));
        config.limits.drain = Duration::ZERO;
        config.limits.messages_per_second = 10_000;
        config.limits.message_burst = 10_000;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            conclave_server::run(listener, config, stopped).await.expect("the relay runs");
        });
        Self { address, stop, task }
    }

    pub(crate) fn url(&self) -> RelayUrl {
        url(self.address)
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        timeout(PATIENCE, self.task).await.expect("the relay stops").expect("it does not panic");
    }
}

fn url(address: SocketAddr) -> RelayUrl {
    format!("ws://{address}").parse().expect("an address")
}

/// A network between a member and its relay that can go away.
pub(crate) struct Network {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Network {
    pub(crate) async fn to(relay: &Relay) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, to) = (listener.local_addr().expect("an address"), relay.address);
        let (whole, is_whole) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut whole = is_whole.clone();
                tokio::spawn(async move {
                    if !*whole.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(to).await.expect("the relay answers");
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { address, whole }
    }

    pub(crate) fn url(&self) -> RelayUrl {
        url(self.address)
    }

    /// Every connection breaks, and no new one comes through until the network is whole again.
    pub(crate) fn set_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

pub(crate) fn token(user: &str, role: Role) -> Token {
    let (call, user) = (CallName::new(CALL).expect("a call"), UserName::new(user).expect("a user"));
    let grant = Grant { call: &call, user: &user, role, lifetime: PATIENCE };
    Issuer::secret(SECRET).expect("long enough").issue(&grant).expect("a token")
}

pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) me: Joined,
    /// The event that told of the seat.
    pub(crate) seated: Event,
}

impl Member {
    pub(crate) async fn join(relay: &Relay, user: &str, role: Role) -> Self {
        Self::with_store(relay, user, role, Store::memory()).await
    }

    pub(crate) async fn with_store(relay: &Relay, user: &str, role: Role, store: Store) -> Self {
        Self::through(relay.url().into(), user, role, store).await
    }

    pub(crate) async fn through(relays: Relays, user: &str, role: Role, store: Store) -> Self {
        let name = UserName::new(user).expect("a user");
        let profile =
            Profile { call: CallName::new(CALL).expect("a call"), user: name.clone(), name, token: token(user, role) };
        let tokens = {
            let user = user.to_owned();
            TokenSource::made_by(move || Ok(token(&user, role)))
        };
        let device = store.open().expect("a device");
        let joining = Joining { device, store: Some(store), profile, tokens, config: Config::default() };
        let (client, events) = Client::connect(relays, joining).await.expect("a connection");
        let mut member = Self { client, events, me: Joined(0), seated: Event::KeyFound };
        (member.me, member.seated) = member
            .until(|event| if let Event::Seated { joined, .. } = event { Some((*joined, event.clone())) } else { None })
            .await;
        member
    }

    /// Waits for the first event that the function takes.
    pub(crate) async fn until<T>(&mut self, mut take: impl FnMut(&Event) -> Option<T>) -> T {
        let mut others = Vec::new();
        let waiting = async {
            loop {
                let event = self.events.next().await.expect("the session is not over");
                if let Some(taken) = take(&event) {
                    return taken;
                }
                others.push(event);
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("the event does not come; others did: {others:#?}"))
    }

    /// Waits until this device seals under an epoch with so many members, and says which.
    pub(crate) async fn sealing(&mut self, members: usize) -> EpochInfo {
        let mut newest = None;
        self.until(|event| match event {
            Event::Epoch(info) if info.members.len() == members => {
                newest = Some(info.clone());
                None
            }
            Event::Active(epoch) => newest.clone().filter(|info| info.epoch == *epoch),
            _ => None,
        })
        .await
    }
}
