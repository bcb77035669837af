//! What only members read: grants, commits and the body of a session.

use conclave_shared::{
    crypto::group::{Export, InboundGroup},
    limits::{self, check_text},
    wire::{
        self,
        sealed::{CommitBody, Grant, SessionBody},
    },
};
use serde_json::value::RawValue;

pub(crate) fn grant(data: &[u8]) {
    let Ok(text) = String::from_utf8(data.to_vec()) else { return };
    let Ok(text) = RawValue::from_string(text) else { return };
    let Ok(grant) = Grant::parse(&text) else { return };
    let text = wire::encode(&grant);
    let again = RawValue::from_string(text.clone()).expect("JSON");
    let again = Grant::parse(&again).expect("what was read can be read again");
    assert_eq!(wire::encode(&again), text);
    import(grant.session);
}

pub(crate) fn commit(data: &[u8]) {
    if let Ok(commit) = serde_json::from_slice::<CommitBody>(data) {
        let text = wire::encode(&commit);
        assert_eq!(serde_json::from_str::<CommitBody>(&text).ok().as_ref(), Some(&commit));
    }
    let Ok(session) = serde_json::from_slice::<SessionBody>(data) else { return };
    let text = wire::encode(&session);
    let again = serde_json::from_str::<SessionBody>(&text).expect("what was read can be read again");
    // The commit is signed and hashed as a text: not one byte of it may change.
    assert_eq!(again.commit.get(), session.commit.get());
    let _ = check_text(session.commit.get(), limits::COMMIT_LENGTH);
    import(session.session);
}

/// No exported session makes one that starts beyond the limit.
fn import(mut session: wire::sealed::SecretBlob) {
    let Some(export) = Export::take(session.expose_mut()) else { return };
    if let Ok(group) = InboundGroup::import(&export) {
        assert!(group.index() < conclave_shared::crypto::group::INDEX_LIMIT);
    }
}
