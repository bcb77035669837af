//! A lead that cheats with ready grants.

use crate::{
    MALLORY, MALLORY_S, MEMBERS,
    attack::{
        Attack, SOON,
        insider::{Insider, Made, NOW, Plan},
    },
    change_of_lead, commit, epoch, mallory_leads, refused,
};
use conclave_shared::{
    crypto::{seal::WrappingKey, secret::Secret},
    id::{Epoch, Joined},
    session::error::CommitError,
    wire::{
        Commit, OlmMessage, ToClient,
        sealed::{Cause, OlmType, ready_aad},
    },
};

const VICTIM: Joined = Joined(3);

/// A ready grant: what a lead could do differently about it.
#[derive(Clone)]
struct Ready {
    to: Joined,
    kind: OlmType,
    bound: Epoch,
    sealed_for: Epoch,
}

const HONEST: Ready = Ready { to: VICTIM, kind: OlmType::Ready, bound: epoch(2, 0), sealed_for: epoch(2, 2) };

fn wrapping() -> Secret<32> {
    Secret::take(&mut [9; 32]).unwrap()
}

impl Ready {
    fn message(&self, mallory: &mut Insider) -> OlmMessage {
        let message = mallory.olm(self.to, self.bound, self.kind, wrapping().expose());
        assert_eq!(message.0, 1, "the victim has answered");
        message
    }

    fn grant(&self, message: OlmMessage, made: &Made) -> OlmMessage {
        let aad = ready_aad(self.sealed_for, &made.broadcast());
        OlmMessage::ready(message.1.0, &WrappingKey::new(&wrapping()).seal(&aad, &made.key))
    }
}

/// The next epoch of Mallory's, with this grant for the victim alone.
fn next(call: &mut Attack, mallory: &mut Insider, made: &Made, grant: OlmMessage) {
    mallory.take_over(call);
    call.say(MALLORY, Commit { grants: vec![(VICTIM, grant)], ..made.commit.clone() });
    call.settle();
}

/// M25. The lead uses a ready grant twice, or one that it made for another term, for somebody else, for another epoch, or as
/// a message of another kind. -> `commit_refused (grant)`, or `(other broadcast)` for another epoch, at once; no key of it is
/// installed.
#[test]
fn m25_a_ready_grant_that_is_bound_to_something_else() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let first = commit(&mut call, &mut mallory, &plan, |_| {});
    call.advance(1_000);
    mallory.peers.remove(&Joined(1));
    let answers = call.wire.iter().filter_map(|(to, message)| match message {
        ToClient::Olm(event) if *to == MALLORY => Some(event.clone()),
        _ => None,
    });
    for event in answers.collect::<Vec<_>>() {
        let peer = mallory.peers[&event.from].clone();
        let opened = mallory.olm.decrypt(NOW, &mut mallory.device, (peer.end.join, &peer.curve25519), &event.message);
        assert!(opened.is_ok(), "everybody turned the ratchet");
    }
    let plan = |epoch, prev| Plan { epoch, prev, cause: Cause::Request, add: vec![], remove: vec![] };
    let made = mallory.commit(&plan(epoch(2, 1), first.transcript), |_| {});
    let used = HONEST.message(&mut mallory);
    let grant = Ready { sealed_for: epoch(2, 1), ..HONEST }.grant(used.clone(), &made);
    next(&mut call, &mut mallory, &made, grant);
    assert_eq!(call.newest(2).1, made.transcript, "an honest one is followed");
    let before = call.newest(2);

    let made = mallory.commit(&plan(epoch(2, 2), made.transcript), |_| {});
    let wrong = [
        (Ready { bound: epoch(1, 0), ..HONEST }, CommitError::Grant),
        (Ready { bound: epoch(2, 2), ..HONEST }, CommitError::Grant),
        (Ready { kind: OlmType::Rekey, ..HONEST }, CommitError::Grant),
        (Ready { kind: OlmType::Turn, ..HONEST }, CommitError::Grant),
        (Ready { to: Joined(4), ..HONEST }, CommitError::Grant),
        (Ready { sealed_for: epoch(2, 1), ..HONEST }, CommitError::OtherBroadcast),
    ];
    let messages: Vec<_> = wrong.iter().map(|(wrong, _)| wrong.message(&mut mallory)).collect();
    let wrong = wrong.into_iter().zip(messages).chain([((HONEST, CommitError::Grant), used)]);
    for ((wrong, reason), message) in wrong {
        call.advance(100);
        let since = call.now;
        next(&mut call, &mut mallory, &made, wrong.grant(message, &made));
        call.assert_told(2, since, SOON, refused(epoch(2, 2), reason));
        assert_eq!(call.newest(2), before);
    }
    let grant = HONEST.message(&mut mallory);
    next(&mut call, &mut mallory, &made, HONEST.grant(grant, &made));
    assert_eq!(call.newest(2).1, made.transcript, "nothing but those was wrong");
    assert_eq!(call.members[2].session.members().len(), 3);
    assert!(call.members[2].session.members().iter().any(|member| member.joined == MALLORY_S));
}
