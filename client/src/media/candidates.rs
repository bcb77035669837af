//! How many addresses of the other side one connection takes.
//!
//! The library pairs every candidate with every own address and pings each pair, whoever's address it is. So a member
//! who may name thousands makes this device flood whom they choose, and search through all pairs itself.

use std::collections::BTreeSet;
use thiserror::Error;

/// Different candidates of one connection at most: four network interfaces have about 16, and ICE may start anew three
/// times. A connection that needs more is made anew.
const CANDIDATES: usize = 64;
/// Bytes of one candidate: addresses, numbers and extensions need under 300.
const CANDIDATE_LENGTH: usize = 512;

/// A description with more candidates than a connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the member names more than {CANDIDATES} candidates, or one that is too long")]
pub(super) struct TooMany;

/// The candidates that the other side of one connection has named. Descriptions repeat them: each counts once.
#[derive(Default)]
pub(super) struct RemoteCandidates(BTreeSet<String>);

impl RemoteCandidates {
    /// Whether a candidate may go to the library.
    pub(super) fn takes(&mut self, candidate: &str) -> bool {
        let candidate = candidate.trim();
        if self.0.contains(candidate) {
            return true;
        }
        let takes = self.0.len() < CANDIDATES && candidate.len() <= CANDIDATE_LENGTH;
        if takes {
            self.0.insert(candidate.to_owned());
        }
        takes
    }

    /// Checks a session description before the library sees it.
    ///
    /// # Errors
    /// [`TooMany`]: what was taken of it counts nevertheless.
    pub(super) fn check(&mut self, sdp: &str) -> Result<(), TooMany> {
        // As the library reads lines: `\n` ends one, `\r` before it and space around the value mean nothing.
        let values = sdp.split('\n').filter_map(|line| line.trim_start_matches('\r').strip_prefix("a="));
        let mut candidates = values.map(str::trim).filter(|value| value.starts_with("candidate"));
        if candidates.all(|candidate| self.takes(candidate)) { Ok(()) } else { Err(TooMany) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: usize) -> String {
        format!("candidate:{n} 1 udp 2130706431 192.0.2.1 {} typ host", 1024 + n)
    }

    fn sdp(count: usize) -> String {
        let lines = (0..count).map(|n| format!("a={}\r\n", candidate(n)));
        format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{}", lines.collect::<String>())
    }

    #[test]
    fn a_connection_takes_so_many_candidates_and_no_more_however_they_come() {
        let mut remote = RemoteCandidates::default();
        assert_eq!(remote.check(&sdp(CANDIDATES - 1)), Ok(()));
        assert!(remote.takes(&candidate(1000)));
        assert!(!remote.takes(&candidate(1001)), "one too many");
        assert!(remote.takes(&candidate(1000)), "known");
        assert_eq!(remote.check(&sdp(CANDIDATES - 1)), Ok(()), "a description repeats them");
        assert_eq!(remote.check(&sdp(CANDIDATES)), Err(TooMany));
    }

    #[test]
    fn no_description_with_too_many_passes_however_its_lines_are_written() {
        assert_eq!(RemoteCandidates::default().check(&sdp(CANDIDATES)), Ok(()));
        let many = sdp(CANDIDATES + 1);
        for text in [many.clone(), many.replace("\r\n", "\n\r"), many.replace("a=", "a= \t")] {
            assert_eq!(RemoteCandidates::default().check(&text), Err(TooMany));
        }
        let long = format!("a={}", "candidate:".repeat(CANDIDATE_LENGTH));
        assert_eq!(RemoteCandidates::default().check(&long), Err(TooMany));
    }
}
