//! A whole call at the highest log level leaves no key, token, stored device or plaintext in any log, of relay or
//! client. The same scan finds what is planted.

#[cfg(target_os = "linux")]
mod memory;
mod needles;
mod programs;

use conclave_client::{
    driver::{Driver, Observer, Request},
    store::Store,
    token::{Grant, Issuer},
    transport::Transport,
};
use conclave_server::config::{Config as RelayConfig, Secret};
use conclave_shared::{
    crypto::{schedule::MediaSecret, secret},
    frame::{Frames, clear_bytes::Codec},
    id::{CallName, Role, UserName},
    identity::device::DevicePickle,
    session::{
        Profile, Session,
        config::Config,
        input::Command,
        output::{Event, KeyUpdate},
    },
    wire::Token,
};
use needles::Needles;
use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, timeout},
};

pub(crate) const SECRET: &str = "a secret that only the privacy test knows";
const PLAINTEXT: &str = "the plaintext of a message between members";
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that was logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

/// Notes every secret that a member is given.
struct Watch {
    needles: Arc<Mutex<Needles>>,
    frames: Frames,
    events: mpsc::UnboundedSender<Event>,
}

impl Observer for Watch {
    fn keys(&mut self, update: KeyUpdate) {
        if let KeyUpdate::Install { media, senders, .. } = &update {
            let mut needles = self.needles.lock().expect("no panic");
            needles.bytes("a media secret", media.expose());
            for (seat, sender) in senders.iter() {
                needles.bytes("a frame key", media.sender::<16>(*seat, sender).expose());
            }
        }
        self.frames.apply(update);
        // A frame in every epoch, so that the frame layer has something to say.
        let _ = self.frames.seal(Codec::Opus, PLAINTEXT.as_bytes());
    }

    fn event(&mut self, _: &mut Session, event: Event) {
        let _ = self.events.send(event);
    }
}

struct Member {
    requests: mpsc::Sender<Request>,
    events: mpsc::UnboundedReceiver<Event>,
    store: Store,
}

impl Member {
    async fn join(address: std::net::SocketAddr, user: &str, role: Role, needles: &Arc<Mutex<Needles>>) -> Self {
        let (call, user) = (CallName::new("private").expect("a name"), UserName::new(user).expect("a name"));
        let grant = Grant { call: &call, user: &user, role, lifetime: PATIENCE };
        let token: Token = Issuer::secret(SECRET).expect("long enough").issue(&grant).expect("a token");
        needles.lock().expect("no panic").text("a token", &token.0);
        let store = Store::memory();
        let device = store.open().expect("a device");
        note_device(needles, &store);
        let url = format!("ws://{address}").parse().expect("an address");
        let (requests, asked) = mpsc::channel(8);
        let (sender, events) = mpsc::unbounded_channel();
        let observer = Watch { needles: Arc::clone(needles), frames: Frames::new(device.ed25519()), events: sender };
        let profile = Profile { call, name: user.clone(), user, token };
        let driver = Driver {
            session: Session::new(device, profile, Config::default()),
            transport: Transport::connect(&url).await.expect("a connection"),
            requests: asked,
            store: Some(store.clone()),
            observer,
            began: Instant::now(),
            again: None,
        };
        tokio::spawn(driver.run());
        Self { requests, events, store }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) {
        let waiting = async {
            while let Some(event) = self.events.recv().await {
                if wanted(&event) {
                    return;
                }
            }
            panic!("the session is over before {what}");
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
    }

    async fn ask(&self, command: Command) {
        self.requests.send(Request::Command(command)).await.expect("running");
    }
}

fn note_device(needles: &Arc<Mutex<Needles>>, store: &Store) {
    let pickle: DevicePickle = store.load().expect("readable").expect("stored");
    let json = serde_json::from_str(pickle.expose()).expect("JSON");
    needles.lock().expect("no panic").pickle(&json);
}

/// Starts, join, join, message, leave, a new lead: everything that a call does, with every secret in it noted.
async fn whole_call() -> Needles {
    let needles = Arc::new(Mutex::new(Needles::default()));
    needles.lock().expect("no panic").text("the relay's secret", SECRET);
    needles.lock().expect("no panic").text("a plaintext", PLAINTEXT);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let relay = RelayConfig::with_secret(SECRET.parse::<Secret>().expect("long enough"));
    tokio::spawn(conclave_server::run(listener, relay, std::future::pending()));

    let with =
        |members: usize| move |event: &Event| matches!(event, Event::Epoch(info) if info.members.len() == members);
    let mut bot = Member::join(address, "bot", Role::LeadBot, &needles).await;
    bot.until("the first epoch", with(1)).await;
    let mut anna = Member::join(address, "Anna", Role::Member, &needles).await;
    anna.until("her epoch", with(2)).await;
    let mut ben = Member::join(address, "Ben", Role::Member, &needles).await;
    ben.until("his epoch", with(3)).await;
    anna.until("the epoch with Ben", with(3)).await;
    anna.ask(Command::Send { to: None, payload: PLAINTEXT.as_bytes().to_vec() }).await;
    ben.until(
        "the message",
        |event| matches!(event, Event::Message { payload, .. } if payload.0 == PLAINTEXT.as_bytes()),
    )
    .await;
    bot.ask(Command::Leave).await;
    ben.until("the epoch of a new lead", with(2)).await;
    anna.until("the epoch of a new lead", with(2)).await;
    for member in [&bot, &anna, &ben] {
        note_device(&needles, &member.store);
    }
    std::mem::take(&mut *needles.lock().expect("no panic"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_a_whole_call_stands_in_any_log_and_a_planted_one_is_found() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let needles = whole_call().await;
    let text = log.text();
    assert!(text.lines().count() > 20, "at this level there is a log:\n{text}");
    assert!(needles.len() > 100);
    for line in text.lines() {
        let found = needles.found_in(line);
        assert!(found.is_empty(), "{found:?} in the log: {}", line.chars().take(120).collect::<String>());
    }
    for what in needles.kinds() {
        tracing::trace!("somebody forgets themselves: {}", needles.one(what));
        assert!(needles.found_in(&log.text()).contains(&what), "{what} was planted and not found");
    }
}

#[cfg(not(target_os = "linux"))]
#[test]
fn the_memory_of_the_relay() {
    eprintln!("SKIPPED: only Linux shows the memory of another process in its file system");
}

#[test]
fn no_secret_prints_itself() {
    let media = MediaSecret::new(secret::Secret::take(&mut [77; 32]).expect("32 bytes"));
    let mut needles = Needles::default();
    needles.bytes("a media secret", media.expose());
    needles.text("a token", "a token of some length");
    needles.text("a plaintext", PLAINTEXT);
    let update = KeyUpdate::Install {
        epoch: conclave_shared::id::Epoch::first(conclave_shared::id::Term(1)),
        media,
        senders: Arc::default(),
    };
    let token = Token("a token of some length".into());
    let command = Command::Send { to: None, payload: PLAINTEXT.as_bytes().to_vec() };
    let printed =
        format!("{update:?} {token:?} {command:?} {:?}", DevicePickle::from_text("a token of some length".into()));
    assert_eq!(needles.found_in(&printed), Vec::<&str>::new());
    let careless = format!("{printed} {}", token.0);
    assert_eq!(needles.found_in(&careless), ["a token"], "the scan sees what does print itself");
}
