//! Somebody has left, and the relay would keep them in by pretending to be restarted.

use crate::{RESUME, attack::Attack, seats::restored};
use conclave_shared::{
    id::{Joined, RelayInstance, Term},
    session::{error::SecurityEvent, input::Command, output::Event},
    wire::{AwayReason, Committed, Lead, MemberAway, MemberClaim, ToClient},
};

/// The relay says to all who are here that it was restarted, and that all who were ever committed are back, or but the last of them.
fn restart(call: &mut Attack, life: u8, but_last: bool) {
    call.relay = RelayInstance::new([life; 16]);
    let live: Vec<_> = (0..call.members.len()).filter(|index| !call.members[*index].closed).collect();
    for index in live {
        let claim = |index| MemberClaim { committed: true, ..call.claimed(Joined(index as u64 + 1)) };
        let members = (0..call.members.len() - usize::from(but_last)).map(claim).collect();
        restored(call, index, call.relay, members);
    }
}

fn name(call: &mut Attack, term: u32, joined: u64) {
    let (term, joined) = (Term(term), Joined(joined));
    let lead = Lead { at: call.at(), term, joined, genesis: false };
    call.all(None, &lead.into());
    call.lead = Some((term, joined));
    call.settle();
}

/// A call of four in which the relay hides that the last one leaves, and keeps back all commits but those that may pass.
fn hidden_leave(passes: impl Fn(&Committed) -> bool + 'static) -> Attack {
    let mut call = RESUME.call_of(4);
    call.relay_does(move |_, message| match &message {
        ToClient::Left(_) => vec![],
        ToClient::Commit(commit) if !passes(commit) => vec![],
        _ => vec![message],
    });
    call.muted.insert(3);
    call.command(3, Command::Leave);
    call.settle();
    call
}

fn assert_gone(call: &mut Attack) {
    let members = call.members[1].session.members();
    assert_eq!(members.iter().map(|member| member.joined.0).collect::<Vec<_>>(), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// R12. The relay hides a leave, pretends to be restarted every four seconds, and names another lead after every second time; or every
/// seven seconds, as if the one who left were not back, and keeps the commit of that back. -> harmless: what a lead gives somebody anew
/// who owes it a sign of life is counted over all reigns, and what is owed outlasts what is not sequenced.
#[test]
fn r12_restarts_and_elections_without_end() {
    for absent in [false, true] {
        let mut call = hidden_leave(move |commit| !absent || commit.epoch.count() == 0);
        for round in 0..40_u8 {
            let term = 2 + u32::from(round / 2);
            let (from, to) = if term.is_multiple_of(2) { (1, 2) } else { (2, 1) };
            restart(&mut call, 100 + round, absent && round % 2 == 0);
            let away = MemberAway { at: call.at(), joined: Joined(from), reason: AwayReason::Silent };
            call.all(None, &away.into());
            name(&mut call, term, to);
            call.advance(if absent { 7_000 } else { 4_000 });
        }
        assert_gone(&mut call);
        if !absent {
            drop(call.again());
        }
    }
}

/// R13. The relay hides a leave, keeps the commit against it back, and is restarted, as it says, every four seconds; the lead stays. ->
/// `commit_stalled` at the lead, once three restarts have lost that commit.
#[test]
fn r13_a_commit_that_every_restart_loses() {
    let mut call = hidden_leave(|commit| commit.epoch.count() == 0);
    call.advance(24_000);
    let stalled = |event: &Event| matches!(event, Event::Security(SecurityEvent::CommitStalled { .. }));
    assert_eq!(call.members[0].told(stalled), None);
    let since = call.now;
    for round in 0..10 {
        restart(&mut call, 100 + round, false);
        name(&mut call, 1, 1);
        call.advance(4_000);
    }
    let at = call.members[0].told(stalled).expect("it is told");
    assert!(at.as_millis() - since.as_millis() <= 24_000, "{at:?}");
}
