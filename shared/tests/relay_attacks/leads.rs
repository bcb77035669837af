//! Games with the lead.

use crate::{
    RELAY,
    attack::{Attack, SOON, eve},
    epoch,
};
use conclave_shared::{
    id::{Joined, Role, Term},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
    },
    wire::{AwayReason, Committed, Lead, MemberAway, MemberBack, ToClient},
};

/// The relay takes the lead from one member and gives it to another, lawfully.
pub(crate) fn depose(call: &mut Attack, (from, to): (u64, u64), term: u32) {
    let away = MemberAway { at: call.at(), joined: Joined(from), reason: AwayReason::Silent };
    let lead = Lead { at: call.at(), term: Term(term), joined: Joined(to), genesis: false };
    let back = MemberBack { at: call.at(), joined: Joined(from) };
    for event in [ToClient::from(away), lead.into(), back.into()] {
        call.all(None, &event);
    }
    call.lead = Some((Term(term), Joined(to)));
}

/// A14. The relay changes the lead ten times a second, for four seconds. -> harmless: everybody seals and opens
/// throughout, and all agree when it stops.
#[test]
fn a14_endless_elections() {
    let mut call = RELAY.call_of(4);
    for term in 2..42 {
        // The first lead goes away and comes back, and goes away again.
        let (from, to) = if term % 2 == 0 { (1, 2) } else { (2, 1) };
        depose(&mut call, (from, to), term);
        call.advance(100);
        call.assert_sealing();
    }
    call.advance(SOON);
    assert_eq!(call.assert_harmless().term(), Term(41));
}

/// A15. The relay keeps the commits of the lead to itself, and names a device of its own as the next. -> `wrong_lead` and
/// `commit_by_other`, at once; `commit_stalled` at the lead within 8 s; the device gets no key.
#[test]
fn a15_a_stalled_lead_and_a_device_promoted() {
    let mut call = RELAY.call_of(3);
    let current = call.assert_harmless();
    let old = call.wire.iter().rev().find_map(|(_, message)| match message {
        ToClient::Commit(commit) => Some(commit.clone()),
        _ => None,
    });
    call.relay_does(|_, message| if matches!(message, ToClient::Commit(_)) { vec![] } else { vec![message] });
    let since = call.now;
    let device = call.join(Role::LeadBot);
    call.command(0, Command::Rotate);
    call.advance(1_000);
    let lead = Lead { at: call.at(), term: Term(2), joined: Joined(4), genesis: false };
    let commit = Committed { at: call.at(), from: Joined(4), epoch: epoch(2, 0), ..old.unwrap() };
    for index in 0..3 {
        call.input(index, Input::Received(lead.into()));
        call.input(index, Input::Received(commit.clone().into()));
        call.assert_told(index, since, SOON, SecurityEvent::WrongLead { term: Term(2), named: Joined(4) });
        call.assert_told(index, since, SOON, SecurityEvent::CommitByOther { from: Joined(4), epoch: epoch(2, 0) });
    }
    call.advance(7_000);
    call.assert_told(0, since, 8_000, SecurityEvent::CommitStalled { epoch: epoch(1, 3) });
    for index in 0..3 {
        assert_eq!(call.members[index].session.active(), Some(current));
        call.assert_shut_out(device, index);
    }
    call.assert_heard(0, &[1, 2]);
    let (eve, _) = eve::outsider();
    assert!(call.members[0].session.members().iter().all(|member| member.ed25519 != eve.ed25519()));
}
