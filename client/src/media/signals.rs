//! What meshes say to each other: a JSON array of signals in one sealed message, the same as browsers send. Session
//! descriptions and addresses never travel otherwise.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// What stands before the array, so that applications never see these messages.
pub(super) const PREFIX: &[u8] = b"conclave-mesh/1\n";
/// Signals in one message, and candidates in one signal: a handful comes from each network interface.
pub(super) const SIGNALS: usize = 32;
const CANDIDATES: usize = 64;
/// The largest integer that browsers tell apart from its neighbours.
const LARGEST: u64 = (1 << 53) - 1;

/// What a member sends right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sends {
    pub(super) audio: bool,
    pub(super) video: bool,
}

/// Offer or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DescriptionKind {
    Offer,
    Answer,
}

/// One signal. `n` numbers the connections between two members: signals of an earlier one mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Signal {
    /// This member has a mesh: whoever is to make the connection makes it.
    Hello {
        sends: Sends,
        /// The last connection came to nothing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// What this member sends changed.
    Sends {
        sends: Sends,
    },
    Description {
        n: u64,
        kind: DescriptionKind,
        sdp: String,
    },
    Candidates {
        n: u64,
        candidates: Vec<Candidate>,
    },
}

/// An `RTCIceCandidateInit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) candidate: String,
    #[serde(default)]
    pub(super) sdp_mid: Option<String>,
    #[serde(default)]
    pub(super) sdp_m_line_index: Option<u16>,
    #[serde(default)]
    pub(super) username_fragment: Option<String>,
}

/// A message that should hold signals and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a member sent connection data that cannot be read")]
pub(super) struct BadSignal;

/// Encodes signals for one message.
pub(super) fn encode(signals: &[Signal]) -> Vec<u8> {
    // These types have no map with other keys than text and no number that JSON lacks: this cannot fail.
    let text = serde_json::to_vec(signals).unwrap_or_default();
    [PREFIX, &text].concat()
}

/// Whether an application message is one of those that peers exchange about their connections.
#[must_use]
pub fn is_signal(message: &[u8]) -> bool {
    message.starts_with(PREFIX)
}

/// Reads a message; `None` when it is not for the mesh. A kind of signal that a later version adds is passed over.
pub(super) fn decode(message: &[u8]) -> Option<Result<Vec<Signal>, BadSignal>> {
    let text = message.strip_prefix(PREFIX)?;
    let list: Result<Vec<Value>, _> = serde_json::from_slice(text);
    let list = list.ok().filter(|list| list.len() <= SIGNALS);
    Some(list.ok_or(BadSignal).and_then(|list| list.into_iter().filter_map(read).collect()))
}

fn read(value: Value) -> Option<Result<Signal, BadSignal>> {
    match value.get("type").and_then(Value::as_str) {
        Some("hello" | "sends" | "description" | "candidates") => {}
        Some(_) => return None,
        None => return Some(Err(BadSignal)),
    }
    let signal = serde_json::from_value(value).ok().filter(|signal| match signal {
        Signal::Hello { .. } | Signal::Sends { .. } => true,
        Signal::Description { n, .. } => *n <= LARGEST,
        Signal::Candidates { n, candidates } => *n <= LARGEST && candidates.len() <= CANDIDATES,
    });
    Some(signal.ok_or(BadSignal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_text(text: &str) -> Result<Vec<Signal>, BadSignal> {
        decode(&[PREFIX, text.as_bytes()].concat()).expect("for the mesh")
    }

    #[test]
    fn signals_are_written_as_browsers_write_them() {
        let sends = Sends { audio: true, video: false };
        let candidate = Candidate { candidate: "candidate:1".to_owned(), ..Candidate::default() };
        let signals = [
            Signal::Hello { sends, again: false },
            Signal::Hello { sends, again: true },
            Signal::Description { n: 0, kind: DescriptionKind::Offer, sdp: "v=0".to_owned() },
            Signal::Candidates { n: 1, candidates: vec![candidate] },
        ];
        let message = encode(&signals);
        let text = std::str::from_utf8(message.strip_prefix(PREFIX).expect("for the mesh")).expect("text");
        assert_eq!(
            text,
            concat!(
                r#"[{"type":"hello","sends":{"audio":true,"video":false}},"#,
                r#"{"type":"hello","sends":{"audio":true,"video":false},"again":true},"#,
                r#"{"type":"description","n":0,"kind":"offer","sdp":"v=0"},"#,
                r#"{"type":"candidates","n":1,"candidates":[{"candidate":"candidate:1","sdpMid":null,"#,
                r#""sdpMLineIndex":null,"usernameFragment":null}]}]"#,
            )
        );
        assert_eq!(decode(&message), Some(Ok(signals.to_vec())));
    }

    #[test]
    fn later_kinds_are_passed_over_and_malformed_signals_refused() {
        assert_eq!(decode(b"hello"), None, "a message of the application");
        assert_eq!(decode_text(r#"[{"type":"wave"}]"#), Ok(Vec::new()));
        for bad in [
            "",
            "{}",
            "[1]",
            r#"[{"type":"sends"}]"#,
            r#"[{"type":"description","n":-1,"kind":"offer","sdp":""}]"#,
            r#"[{"type":"description","n":9007199254740992,"kind":"offer","sdp":""}]"#,
            r#"[{"type":"description","n":0,"kind":"rollback","sdp":""}]"#,
            r#"[{"type":"candidates","n":0,"candidates":[{}]}]"#,
        ] {
            assert_eq!(decode_text(bad), Err(BadSignal), "{bad}");
        }
        let many = vec![r#"{"type":"wave"}"#; SIGNALS + 1].join(",");
        assert_eq!(decode_text(&format!("[{many}]")), Err(BadSignal));
    }
}
