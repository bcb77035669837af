//! The memory of a relay, as somebody who has broken into its machine reads it.
//!
//! The relay is a process of its own and carries a whole call; the members are in this process, and every key that any of
//! them ever holds is looked for in everything that the relay can write to. A key that is planted is found there.

#[cfg(not(target_os = "linux"))]
#[test]
fn the_memory_of_the_relay() {
    eprintln!("SKIPPED: only Linux shows the memory of another process in its file system");
}

#[cfg(target_os = "linux")]
mod linux {
    use conclave_client::{
        driver::{Driver, Observer, Request},
        token::{Grant, Issuer},
        transport::Transport,
    };
    use conclave_shared::{
        id::{CallName, Role, UserName, encode_base64},
        identity::device::Device,
        session::{
            Profile, Session,
            config::Config,
            input::Command,
            output::{Event, KeyUpdate},
        },
    };
    use conclave_tests::programs::Program;
    use std::{
        collections::BTreeSet,
        fs::File,
        os::unix::fs::FileExt,
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::{sync::mpsc, time::Instant};

    use crate::{PATIENCE, SECRET};

    /// A run of a key that is looked for: shorter ones happen by chance.
    const RUN: usize = 16;
    /// Bytes that are read at once.
    const CHUNK: usize = 1 << 20;
    /// Kinds of three first bytes: most of a memory is told apart by these.
    const STARTS: usize = 1 << 24;

    type Keys = Arc<Mutex<BTreeSet<Vec<u8>>>>;

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

    struct Member {
        requests: mpsc::Sender<Request>,
        events: mpsc::UnboundedReceiver<Event>,
    }

    impl Member {
        async fn join(url: &str, user: &str, keys: &Keys) -> Self {
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
            Self { requests, events }
        }

        /// Waits until this many are in and seal under it.
        async fn among(&mut self, members: usize) {
            let waiting = async {
                let mut newest = None;
                while let Some(event) = self.events.recv().await {
                    match event {
                        Event::Epoch(info) if info.members.len() == members => newest = Some(info.epoch),
                        Event::Active(epoch) if newest == Some(epoch) => return,
                        _ => {}
                    }
                }
                panic!("the session is over");
            };
            tokio::time::timeout(PATIENCE, waiting).await.expect("it comes");
        }

        async fn ask(&self, command: Command) {
            self.requests.send(Request::Command(command)).await.expect("running");
        }
    }

    /// Runs of keys in every spelling in which a program could hold them.
    struct Runs {
        runs: BTreeSet<[u8; RUN]>,
        starts: Vec<bool>,
    }

    impl Runs {
        fn of(keys: &Keys) -> Self {
            let mut runs = Self { runs: BTreeSet::new(), starts: vec![false; STARTS] };
            for key in keys.lock().expect("no panic").iter() {
                let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                // Base64 of something that a key stands in begins at the key's first, second or third byte.
                let base64 = (0..3).map(|skip| encode_base64(&key[skip..key.len() - (key.len() - skip) % 3]));
                let base64: Vec<_> = base64.flat_map(|text| [text.replace('-', "+").replace('_', "/"), text]).collect();
                let texts = base64.into_iter().chain([hex.to_uppercase(), hex]);
                texts.for_each(|text| runs.add(text.as_bytes()));
                runs.add(key);
            }
            runs
        }

        fn add(&mut self, bytes: &[u8]) {
            for run in bytes.windows(RUN).filter(|run| run.iter().any(|byte| *byte != run[0])) {
                self.starts[start(run)] = true;
                self.runs.insert(run.try_into().expect("its length"));
            }
        }

        fn count_in(&self, bytes: &[u8]) -> usize {
            bytes.windows(RUN).filter(|run| self.starts[start(run)] && self.runs.contains(*run)).count()
        }
    }

    fn start(run: &[u8]) -> usize {
        usize::from(run[0]) << 16 | usize::from(run[1]) << 8 | usize::from(run[2])
    }

    /// How many bytes a process can write to, and how many runs stand in them.
    fn search(process: u32, runs: &Runs) -> (usize, usize) {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("our own child");
        let memory = File::open(format!("/proc/{process}/mem")).expect("our own child");
        let (mut searched, mut found) = (0, 0);
        for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
            let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
            let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).expect("a number"));
            for at in (from..to).step_by(CHUNK) {
                // A run that lies across two chunks is read with the first.
                let length = (to - at).min(u64::try_from(CHUNK + RUN - 1).expect("small"));
                let mut bytes = vec![0; usize::try_from(length).expect("small")];
                // A page that is not there, or went meanwhile, holds nothing.
                if memory.read_exact_at(&mut bytes, at).is_ok() {
                    searched += bytes.len();
                    found += runs.count_in(&bytes);
                }
            }
        }
        (searched, found)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_key_of_a_whole_call_stands_in_the_relay_s_memory_or_log_and_a_planted_one_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let environment = [("CONCLAVE_SECRET", SECRET), ("CONCLAVE_LOG", "trace"), ("RUST_LOG", "trace")];
        let (relay, url) = Program::relay(&environment, &directory.path().join("relay.log"));
        let keys = Keys::default();
        let mut anna = Member::join(&url, "Anna", &keys).await;
        anna.among(1).await;
        let mut ben = Member::join(&url, "Ben", &keys).await;
        ben.among(2).await;
        let mut cleo = Member::join(&url, "Cleo", &keys).await;
        cleo.among(3).await;
        cleo.ask(Command::Send { to: None, payload: b"a message between members".to_vec() }).await;
        ben.ask(Command::Rotate).await;
        cleo.among(3).await;
        cleo.ask(Command::MissingKey).await;
        assert_clean(&relay, &keys);
        anna.ask(Command::Leave).await;
        ben.among(2).await;
        cleo.among(2).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_clean(&relay, &keys);

        // Somebody calls themselves by a key: the relay holds names.
        let planted = keys.lock().expect("no panic").iter().find(|key| key.len() == 32).cloned().expect("a key");
        let mut fool = Member::join(&url, &encode_base64(&planted), &keys).await;
        fool.among(3).await;
        let (_, found) = search(relay.id(), &Runs::of(&keys));
        assert!(found > 0, "a key was planted and not found");
        println!("the planted key was found in {found} places");
    }

    fn assert_clean(relay: &Program, keys: &Keys) {
        let runs = Runs::of(keys);
        assert!(runs.runs.len() > 1_000, "there is something to look for");
        let (searched, found) = search(relay.id(), &runs);
        assert!(searched > CHUNK, "{searched} bytes are the memory of no relay");
        assert_eq!(found, 0, "keys in the memory of the relay");
        let log = relay.printed();
        assert!(log.lines().count() > 3, "at this level there is a log");
        assert_eq!(runs.count_in(log.as_bytes()), 0, "keys in the log of the relay");
        let kibibytes = searched / 1024;
        println!(
            "{} runs of keys looked for in {kibibytes} KiB of memory and {} B of log: none",
            runs.runs.len(),
            log.len()
        );
    }
}
