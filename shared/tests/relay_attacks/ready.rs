//! Ready grants in the wrong hands, or at the wrong time.

use crate::{
    RELAY,
    attack::{Attack, SOON},
    epoch, refused,
};
use conclave_shared::{
    session::{error::CommitError, input::Command},
    wire::{OlmMessage, ToClient},
};
use std::{cell::RefCell, rc::Rc};

/// Whoever gets a changed grant.
const VICTIM: usize = 2;

/// What the relay makes of an older grant and the victim's own.
type Mix = fn(&OlmMessage, &OlmMessage) -> OlmMessage;

fn joint(message: &OlmMessage, sealed: &OlmMessage) -> OlmMessage {
    let (message, _) = message.split_ready().expect("a ready grant");
    let (_, sealed) = sealed.split_ready().expect("a ready grant");
    OlmMessage::ready(message.1.0, sealed)
}

/// The lead makes a new session twice; the second time the relay gives the victim a mixture of its own grant and the
/// newest one that `of` got before: it is refused, and then healed.
fn mixed(mut call: Attack, of: usize, mix: Mix, reason: CommitError) -> Attack {
    let seen: Rc<RefCell<Option<OlmMessage>>> = Rc::default();
    call.relay_does(move |to, mut message| {
        if let ToClient::Commit(commit) = &mut message
            && let Some(grant) = &mut commit.grant
        {
            assert!(grant.split_ready().is_some(), "the lead had a ready grant for {to}");
            let own = grant.clone();
            let earlier = seen.borrow().clone();
            if let (Some(earlier), true) = (earlier, to == VICTIM && commit.epoch == epoch(1, 4)) {
                *grant = mix(&earlier, &own);
            }
            if to == of {
                seen.replace(Some(own));
            }
        }
        vec![message]
    });
    call.command(0, Command::Rotate);
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), epoch(1, 3));
    let since = call.now;
    call.command(0, Command::Rotate);
    call.settle();
    call.assert_told(VICTIM, since, SOON, refused(epoch(1, 4), reason));
    call.relay_stops();
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), epoch(1, 4));
    call
}

/// A23. The relay gives a member the ready grant of another: the whole, its Olm message, or the key that is sealed behind
/// it. -> `commit_refused (grant)`, or `(other broadcast)` for the sealed key; the lead's next word heals it.
#[test]
fn a23_the_ready_grant_of_somebody_else() {
    let call = || RELAY.call_of(3);
    mixed(call().again(), 1, |other, _| other.clone(), CommitError::Grant);
    mixed(call().again(), 1, joint, CommitError::Grant);
    mixed(call(), 1, |other, own| joint(own, other), CommitError::OtherBroadcast);
}

/// A24. The relay gives a member its own ready grant of an earlier epoch once more: the whole, its Olm message with the key
/// sealed for this epoch behind it, or the key sealed for that one. -> `commit_refused (grant)`, or `(other broadcast)` for
/// the sealed key; the lead's next word heals it.
#[test]
fn a24_an_old_ready_grant_with_a_new_key() {
    let call = || RELAY.call_of(3);
    mixed(call().again(), VICTIM, |earlier, _| earlier.clone(), CommitError::Grant);
    mixed(call().again(), VICTIM, joint, CommitError::Grant);
    mixed(call(), VICTIM, |earlier, own| joint(own, earlier), CommitError::OtherBroadcast);
}
