//! The newest events of a call, each as it went out, for a member that comes back.

use conclave_shared::{
    id::{Joined, Sequence},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How long an event is kept: longer than a dropped socket may keep its seat.
pub const LOG_TIME: Duration = Duration::from_secs(15);
/// Events that are kept: 15 s of a call of 1,000 in which people come and go all the time.
pub const LOG_EVENTS: usize = 4096;
/// Bytes that are kept: ten leaves of a call of 1,000, grants included. Bounds what one call can hold of the memory.
pub const LOG_BYTES: usize = 4 * 1024 * 1024;

/// Who was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody.
    All,
    /// Everybody but the one that it comes from.
    AllBut(Joined),
    /// One member.
    One(Joined),
    /// These alone.
    Among(BTreeSet<Joined>),
    /// Everybody; those named with a grant of their own, which is spliced in when it is asked for: 1,000 texts that differ
    /// in so little would fill the log with one commit.
    Each(BTreeMap<Joined, Box<str>>),
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    sequence: Sequence,
    audience: Audience,
    text: Arc<str>,
}

impl Entry {
    fn text_for(&self, joined: Joined) -> Option<Arc<str>> {
        let theirs = match &self.audience {
            Audience::All => true,
            Audience::AllBut(from) => *from != joined,
            Audience::One(to) => *to == joined,
            Audience::Among(these) => these.contains(&joined),
            Audience::Each(own) => match own.get(&joined) {
                Some(grant) => return Some(with_grant(&self.text, grant).into()),
                None => true,
            },
        };
        theirs.then(|| Arc::clone(&self.text))
    }

    fn bytes(&self) -> usize {
        let own: usize = match &self.audience {
            Audience::Each(own) => own.values().map(|grant| grant.len()).sum(),
            Audience::Among(these) => these.len() * size_of::<Joined>(),
            Audience::All | Audience::AllBut(_) | Audience::One(_) => 0,
        };
        self.text.len() + own
    }
}

/// Bounded in events, bytes and age.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The newest event that is no longer here.
    forgotten: Option<Sequence>,
}

impl Log {
    pub(super) fn push(&mut self, at: Timestamp, sequence: Sequence, audience: Audience, text: Arc<str>) {
        let entry = Entry { at, sequence, audience, text };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > LOG_EVENTS || self.bytes > LOG_BYTES {
            self.forget();
        }
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.expires_at().is_some_and(|at| at <= now) {
            self.forget();
        }
    }

    /// The relay was stopped for that long, and nobody could ask for anything.
    pub(super) fn thaw(&mut self, late: Duration) {
        self.entries.iter_mut().for_each(|entry| entry.at = entry.at + late);
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.entries.front().map(|entry| entry.at + LOG_TIME)
    }

    /// The events after `after` as they went to `joined`, oldest first; `None` when some of them are forgotten already.
    pub(super) fn after(&self, after: Sequence, joined: Joined) -> Option<Vec<Arc<str>>> {
        if Some(after) < self.forgotten {
            return None;
        }
        let newer = self.entries.iter().filter(|entry| entry.sequence > after);
        Some(newer.filter_map(|entry| entry.text_for(joined)).collect())
    }

    fn forget(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(entry.bytes());
            self.forgotten = Some(entry.sequence);
        }
    }
}

/// Splices `"grant": …` in as the last field of an encoded `commit`.
pub(super) fn with_grant(common: &str, grant: &str) -> String {
    let open = common.strip_suffix("}}").unwrap_or(common);
    format!("{open},\"grant\":{grant}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log, after: u64, joined: u64) -> Option<Vec<String>> {
        log.after(Sequence(after), Joined(joined)).map(|texts| texts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn replay_gives_everybody_what_they_were_sent() {
        let mut log = Log::default();
        log.push(Timestamp::ZERO, Sequence(1), Audience::All, "all".into());
        log.push(Timestamp::ZERO, Sequence(2), Audience::AllBut(Joined(1)), "others".into());
        log.push(Timestamp::ZERO, Sequence(3), Audience::One(Joined(1)), "one".into());
        let own = BTreeMap::from([(Joined(1), "7".into())]);
        log.push(Timestamp::ZERO, Sequence(4), Audience::Each(own), r#"{"commit":{"a":1}}"#.into());
        let mine = r#"{"commit":{"a":1,"grant":7}}"#;
        assert_eq!(texts(&log, 0, 1), Some(vec!["all".into(), "one".into(), mine.into()]));
        assert_eq!(texts(&log, 1, 2), Some(vec!["others".into(), r#"{"commit":{"a":1}}"#.into()]));
        assert_eq!(texts(&log, 4, 1), Some(vec![]));
    }

    #[test]
    fn the_log_is_bounded_in_age_number_and_bytes_and_knows_what_it_lacks() {
        let mut log = Log::default();
        log.push(Timestamp::ZERO, Sequence(1), Audience::All, "old".into());
        log.push(Timestamp::from_millis(1), Sequence(2), Audience::All, "new".into());
        log.expire(Timestamp::ZERO + LOG_TIME);
        assert_eq!(texts(&log, 0, 1), None);
        assert_eq!(texts(&log, 1, 1), Some(vec!["new".into()]));

        for sequence in 3..3 + LOG_EVENTS as u64 {
            log.push(Timestamp::from_millis(2), Sequence(sequence), Audience::All, "x".into());
        }
        assert_eq!(log.entries.len(), LOG_EVENTS);

        let large: Arc<str> = "x".repeat(LOG_BYTES / 2 + 1).into();
        for sequence in 9000..9003 {
            log.push(Timestamp::from_millis(3), Sequence(sequence), Audience::All, Arc::clone(&large));
        }
        assert_eq!(log.entries.len(), 1);
        assert_eq!(log.bytes, large.len());
    }
}
