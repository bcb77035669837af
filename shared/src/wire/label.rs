//! Every label that separates one use of a hash, signature or key from another. No label is the beginning of another.

/// Signature of a device over its card.
pub const CARD: &[u8] = b"conclave/1 card";
/// Signature of a device over its join.
pub const JOIN: &[u8] = b"conclave/1 join";
/// Signature of a device over later one-time keys.
pub const KEYS: &[u8] = b"conclave/1 keys";
/// Signature of a device over a body.
pub const BODY: &[u8] = b"conclave/1 body";
/// What an Olm payload is bound to.
pub const OLM: &[u8] = b"conclave/1 olm";
/// Additional data of a key that is sealed for a ready grant.
pub const READY: &[u8] = b"conclave/1 ready";
/// Hash of the members of a roster.
pub const ROSTER: &[u8] = b"conclave/1 roster";
/// Hash of the call policy.
pub const POLICY: &[u8] = b"conclave/1 policy";
/// Start of the transcript.
pub const GENESIS: &[u8] = b"conclave/1 genesis";
/// Each step of the transcript.
pub const TRANSCRIPT: &[u8] = b"conclave/1 transcript";
/// Epoch secret to media secret.
pub const MEDIA: &[u8] = b"conclave/1 media";
/// Signature of a device that takes its seat again.
pub const RESUME: &[u8] = b"conclave/1 resume";
/// Media secret to the frame key of one sender.
pub const SENDER: &[u8] = b"conclave/1 sender";
/// Epoch secret to the message key of one sender.
pub const MESSAGE: &[u8] = b"conclave/1 message";
/// Additional data of a sealed application message.
pub const SEALED: &[u8] = b"conclave/1 sealed";
/// Epoch secret to the authenticator key.
pub const AUTHENTICATOR: &[u8] = b"conclave/1 authenticator";
/// Media secret to a value that may be shown and compared.
pub const FINGERPRINT: &[u8] = b"conclave/1 fingerprint";
/// Security code of the call.
pub const CODE: &[u8] = b"conclave/1 code";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_begins_another() {
        let all = [
            CARD,
            JOIN,
            KEYS,
            RESUME,
            BODY,
            OLM,
            READY,
            ROSTER,
            POLICY,
            GENESIS,
            TRANSCRIPT,
            MEDIA,
            SENDER,
            MESSAGE,
            SEALED,
            AUTHENTICATOR,
            FINGERPRINT,
            CODE,
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{i} {j}");
            }
        }
    }
}
