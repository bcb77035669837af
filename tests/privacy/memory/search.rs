//! Keys looked for in what a process can write to.

use conclave_shared::id::encode_base64;
use conclave_tests::programs::Program;
use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
};

/// A run of a key that is looked for: shorter ones happen by chance.
const RUN: usize = 16;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Kinds of three first bytes: most of a memory is told apart by these.
const STARTS: usize = 1 << 24;

/// Keys that anybody in a call ever held.
pub(crate) type Keys = Arc<Mutex<BTreeSet<Vec<u8>>>>;

/// Runs of keys in every spelling in which a program could hold them.
pub(crate) struct Runs {
    runs: BTreeSet<[u8; RUN]>,
    starts: Vec<bool>,
}

impl Runs {
    pub(crate) fn of(keys: &Keys) -> Self {
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
pub(crate) fn search(process: u32, runs: &Runs) -> (usize, usize) {
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

/// No key stands in the relay's memory or log.
pub(crate) fn assert_clean(relay: &Program, keys: &Keys) {
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
