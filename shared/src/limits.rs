//! Every bound of the protocol, each with its reason. Relay configuration may lower or raise those that it names.

use std::time::Duration;
use thiserror::Error;

/// The protocol version spoken here.
pub const VERSION: u16 = 1;

/// Characters in a call name or a user name: fits a tile and a log line.
pub const NAME_LENGTH: usize = 64;
/// Bytes of a device card's text: keys, a name and a handful of capabilities need under 500.
pub const CARD_LENGTH: usize = 2048;
/// Capabilities that a card may list.
pub const CAPABILITIES: usize = 16;
/// Bytes of an access token: a JWT with an identity token's worth of claims is under 2 KiB.
pub const TOKEN_LENGTH: usize = 4096;
/// Bytes of any message but a lead's commit: an SDP offer with bundled candidates is 6 to 20 KiB.
pub const MESSAGE_LENGTH: usize = 64 * 1024;
/// Bytes of a lead's commit: 1,000 grants of 260 bytes, three times over.
pub const COMMIT_LENGTH: usize = 1024 * 1024;
/// Bytes of any message from the relay: a welcome to a full call lists 1,000 cards and proofs.
pub const FROM_RELAY_LENGTH: usize = 4 * 1024 * 1024;
/// Nesting of JSON: the deepest message of the protocol has 6 levels.
pub const JSON_DEPTH: usize = 16;
/// Members of a call: seats are 16 bits wide, and everything was measured up to here.
pub const MEMBERS: usize = 1000;
/// One-time keys in one signed batch.
pub const ONE_TIME_KEYS: usize = 10;
/// Bytes of one chat-size application message before sealing: an SDP offer fits.
pub const APPLICATION_MESSAGE: usize = 40 * 1024;

/// Epochs that a member holds un-wiped at once: two seconds of more than ten changes each. The lead batches rather than exceed
/// it, so that the 8 epoch bits of a frame's key id, which name 64 epochs in a row, name one live key exactly.
pub const LIVE_EPOCHS: usize = 32;
/// Of those, the ones that only a removal may use: nothing may starve an exclusion.
pub const LIVE_EPOCHS_FOR_REMOVAL: usize = 2;
/// Epochs granted and not yet active: one in flight, and a leave on top of it.
pub const PENDING_EPOCHS: usize = 2;
/// Application messages held for an epoch that has not come yet, over all senders.
pub const HELD_MESSAGES: usize = 256;
/// Of those, the ones of one sender: a burst of a mesh's signalling.
pub const HELD_MESSAGES_OF_ONE: usize = 32;
/// Members that a regrant lists: 190 bytes each, so that it stays under [`MESSAGE_LENGTH`] in base64.
pub const REGRANT_MEMBERS: usize = 200;
/// Transcripts of past epochs that are kept for comparison with what others hold: all of the ten seconds in which a member that
/// was away takes up its seat and answers what it missed, at ten epochs a second and some.
pub const PAST_TRANSCRIPTS: usize = 128;
/// Members of a call up to which everybody tells everybody that they are alive: above, that would be most of the traffic.
pub const ALIVE_TO_ALL: usize = 32;
/// Members that one commit adds: a grant of 1,100 bytes each, far below [`COMMIT_LENGTH`] beside 1,000 of a leave.
pub const JOINERS_PER_COMMIT: usize = 256;
/// How long such a message waits: as long as the slowest rotation may take.
pub const HELD_MESSAGE_TIME: Duration = Duration::from_secs(5);
/// Frames held for an epoch that has not come yet, per sender: half a second of video and audio.
pub const HELD_FRAMES: usize = 64;
/// Bytes held for an epoch that has not come yet, over all senders.
pub const HELD_FRAME_BYTES: usize = 8 * 1024 * 1024;
/// How long a frame waits for its key; after that a picture would freeze less if it were dropped.
pub const HELD_FRAME_TIME: Duration = Duration::from_millis(500);
/// Counters of a key that a receiver tells apart, the newest included: WebRTC retransmits at most a second of video.
pub const REPLAY_WINDOW: usize = 1024;

/// A text is too long or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// More bytes than the bound.
    #[error("a message of {got} bytes is over the limit of {limit}")]
    Length {
        /// The bound.
        limit: usize,
        /// What came.
        got: usize,
    },
    /// More nesting than [`JSON_DEPTH`].
    #[error("JSON nested deeper than {JSON_DEPTH} levels")]
    Depth,
}

/// Checks size and nesting of a JSON text before anything parses it.
///
/// # Errors
/// [`LimitError`] naming the bound that was passed.
pub fn check_text(text: &str, limit: usize) -> Result<(), LimitError> {
    if text.len() > limit {
        return Err(LimitError::Length { limit, got: text.len() });
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return Err(LimitError::Depth);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let deep = "[".repeat(JSON_DEPTH + 1);
        assert_eq!(check_text(&deep, 100), Err(LimitError::Depth));
        assert_eq!(check_text(&format!("\"{deep}\""), 100), Ok(()));
        assert_eq!(check_text(&format!("\"\\\"{deep}\""), 100), Ok(()));
        assert_eq!(check_text("[[]]", 3), Err(LimitError::Length { limit: 3, got: 4 }));
    }
}
