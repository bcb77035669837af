//! Somebody has left, and the relay would keep them in.

use crate::{
    RELAY,
    attack::{Attack, insider::Insider},
    epoch,
    leads::depose,
};
use conclave_shared::{
    id::{Joined, Term},
    session::{
        error::{CommandError, SecurityEvent},
        input::{Command, Input},
        output::{Event, PauseReason},
    },
    wire::{
        Acked, BodyFrom, Committed, LeftReason, MemberClaim, MemberJoined, MemberLeft, OlmFrom, Pong, ToClient,
        ToRelay,
        sealed::{Content, Leave},
        signed::Body,
    },
};
use std::{cell::RefCell, rc::Rc};

fn content(message: &ToClient) -> Option<Content> {
    let ToClient::Body(body) = message else { return None };
    Content::parse(&Body::parse(&body.signed).ok()?.content).ok()
}

/// Whether a message tells that somebody has left.
pub(crate) fn tells_of_a_leave(message: &ToClient) -> bool {
    matches!(message, ToClient::Left(_)) || matches!(content(message), Some(Content::Leave(_)))
}

/// What the lead was last told that a member holds.
fn newest_ack(call: &Attack, from: u64) -> Acked {
    let acks = call
        .wire
        .iter()
        .rev()
        .filter_map(|(_, message)| if let ToClient::Ack(ack) = message { Some(ack) } else { None });
    *acks.into_iter().find(|ack| ack.from == Joined(from)).expect("an acknowledgement")
}

fn members(call: &Attack, index: usize) -> Vec<u64> {
    call.members[index].session.members().iter().map(|info| info.joined.0).collect()
}

/// A25. A member signs that it leaves; the relay says again that it is here, keeps the lead from committing without it and
/// names the next. -> harmless: the next lead's first epoch is without it, though the relay calls it present.
#[test]
fn a25_a_leave_taken_back() {
    let mut call = RELAY.call_of(4);
    let leaver = Insider::of(&call, 3);
    let said = call.said.iter().filter(|(index, _)| *index == 3);
    let numbers =
        said.filter_map(|(_, said)| if let ToRelay::Body(body) = said { Body::parse(body).ok() } else { None });
    let last = numbers.map(|body| body.n).max().unwrap_or_default();
    let epoch = call.members[0].session.epoch().unwrap();
    let leave = leaver.numbered(last + 1, epoch, None, &Leave {}.into());
    call.lead = Some((Term(2), Joined(2)));
    let claim = MemberClaim { committed: true, present: true, ..call.claimed(Joined(4)) };
    for index in 0..3 {
        let body = BodyFrom { at: call.at(), from: Joined(4), signed: leave.clone() };
        call.input(index, Input::Received(body.into()));
        let again = MemberJoined { at: call.at(), member: claim.clone() };
        call.input(index, Input::Received(again.into()));
    }
    depose(&mut call, (1, 2), 2);
    call.advance(1_000);
    assert_eq!(members(&call, 1), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// A26. The relay hides a leave, keeps every sign of life from the lead, and plays it an old acknowledgement again and
/// again. -> everybody stops sealing within the lease and the way to it: the lead at 45 s, the others 45 s later at most.
#[test]
fn a26_a_hidden_leave_and_a_lead_in_the_dark() {
    let mut call = RELAY.call_of(4);
    call.command(0, Command::Rotate);
    call.advance(3_000);
    call.relay_does(|to, message| {
        let sign = to == 0 && matches!(content(&message), Some(Content::Alive(_)));
        if sign || tells_of_a_leave(&message) { vec![] } else { vec![message] }
    });
    call.command(3, Command::Leave);
    let since = call.now;
    for _ in 0..10 {
        call.advance(10_000);
        let ack = Acked { at: call.at(), ..newest_ack(&call, 2) };
        call.input(0, Input::Received(ack.into()));
    }
    let paused = |event: &Event| matches!(event, Event::Paused(PauseReason::Lease));
    for (index, within) in [(0, 45_000), (1, 90_000), (2, 90_000)] {
        let at = call.members[index].told(paused).expect("it stops sealing");
        assert!(at.as_millis() - since.as_millis() <= within, "member {index} at {at:?}");
    }
    let silent = |event: &Event| matches!(event, Event::Security(SecurityEvent::LeadSilent { .. }));
    assert!(call.members[1].told(silent).is_some() && call.members[2].told(silent).is_some());
    call.advance(600_000);
    for index in 0..3 {
        assert!(!call.members[index].events.contains(&Event::Resumed), "an old acknowledgement proves nothing");
    }
}

/// A27. The relay hides a leave and changes the lead every 25 s, so that nobody leads for the 30 s after which silence
/// counts, also by way of reigns that are over before their first commit. -> harmless: what is left of that time is kept from
/// reign to reign, and the leaver is out soon after a member has led for 30 s in all.
#[test]
fn a27_slow_elections() {
    for flashes in [false, true] {
        let mut call = RELAY.call_of(4);
        call.relay_does(|_, message| if tells_of_a_leave(&message) { vec![] } else { vec![message] });
        call.command(3, Command::Leave);
        let mut term = 1;
        for (from, to) in [(1, 2), (2, 1), (1, 2)] {
            for (from, to) in [(from, to), (to, from)].into_iter().filter(|_| flashes).chain([(from, to)]) {
                term += 1;
                depose(&mut call, (from, to), term);
            }
            // Whoever leads next has no Olm session with a newcomer, and waits for a key before it commits.
            call.joins(1);
            call.advance(22_000);
        }
        assert_eq!(members(&call, 1), [1, 2, 3, 5, 6, 7], "flashes: {flashes}");
        call.assert_shut_out(3, 1);
    }
}

/// A28. The relay hides a leave, changes the lead, and plays the new lead an old acknowledgement of the leaver. ->
/// harmless: one of an earlier reign is no sign of life, and the leaver is out 30 s after the change.
#[test]
fn a28_an_old_acknowledgement_as_presence() {
    let mut call = RELAY.call_of(4);
    call.command(0, Command::Rotate);
    call.advance(3_000);
    let old = newest_ack(&call, 4);
    call.relay_does(|_, message| if tells_of_a_leave(&message) { vec![] } else { vec![message] });
    call.command(3, Command::Leave);
    call.settle();
    depose(&mut call, (1, 2), 2);
    call.advance(500);
    let again = Acked { at: call.at(), ..old };
    call.input(1, Input::Received(again.into()));
    let present = |event: &Event| matches!(event, Event::MemberPresent(Joined(4)));
    assert_eq!(call.members[1].told(present), None);
    call.advance(31_000);
    assert_eq!(members(&call, 1), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// Hides a leave, and keeps back all commits but the first of each reign.
fn hides(message: ToClient, commits: bool) -> Vec<ToClient> {
    let is_later = |message: &ToClient| matches!(message, ToClient::Commit(commit) if commit.epoch.count() > 0);
    if tells_of_a_leave(&message) || commits && is_later(&message) { vec![] } else { vec![message] }
}

/// Who loses the lead to whom, when two take turns.
fn turn(term: u32) -> (u64, u64) {
    if term.is_multiple_of(2) { (1, 2) } else { (2, 1) }
}

/// Answers to pings that the relay keeps for 2.1 s, as if it had stood still.
#[derive(Clone, Default)]
struct LateAnswers(Rc<RefCell<Vec<(u32, usize, Pong)>>>);

impl LateAnswers {
    /// Keeps an answer; whatever else there is goes on.
    fn keep(&self, to: usize, message: ToClient) -> Vec<ToClient> {
        let ToClient::Pong(pong) = message else { return vec![message] };
        self.0.borrow_mut().push((21, to, pong));
        vec![]
    }

    /// Time goes by, and answers come when they are due.
    fn advance(&self, call: &mut Attack, tenths: u32) {
        for _ in 0..tenths {
            call.advance(100);
            let is_due = |(left, ..): &mut (u32, usize, Pong)| {
                *left -= 1;
                *left == 0
            };
            let due: Vec<_> = self.0.borrow_mut().extract_if(.., is_due).collect();
            for (_, to, pong) in due {
                call.input(to, Input::Received(pong.into()));
            }
        }
    }
}

/// A29. The relay answers none of the lead's pings and keeps all signs of life from it, or answers each ping too late, as if it
/// stood still, so that the time of a newcomer that shows nothing never ends; or it does so in every one of short reigns, after
/// a leave that it hides. -> harmless: a relay that stands still longer than 30 s, or a second time, keeps nobody in, and who was
/// given time once is given none in a later reign.
#[test]
fn a29_a_relay_that_pretends_to_stand_still() {
    let mut call = RELAY.call_of(2);
    call.relay_does(|to, message| {
        let kept = to == 0 && matches!(message, ToClient::Pong(_) | ToClient::Body(_));
        let deaf = to == 2 && !matches!(message, ToClient::Challenge(_));
        if kept || deaf { vec![] } else { vec![message] }
    });
    call.joins(1);
    call.advance(9_000);
    assert_eq!(members(&call, 0), [1, 2, 3]);
    call.advance(36_000);
    assert_eq!(members(&call, 0), [1, 2]);

    let (mut call, late) = (RELAY.call_of(2), LateAnswers::default());
    let kept = late.clone();
    call.relay_does(move |to, message| match message {
        ToClient::Pong(_) if to == 0 => kept.keep(to, message),
        ToClient::Challenge(_) => vec![message],
        _ if to == 2 => vec![],
        _ => vec![message],
    });
    call.joins(1);
    late.advance(&mut call, 250);
    assert_eq!(members(&call, 0), [1, 2]);

    let (mut call, late) = (RELAY.call_of(4), LateAnswers::default());
    let kept = late.clone();
    call.relay_does(move |to, message| if tells_of_a_leave(&message) { vec![] } else { kept.keep(to, message) });
    call.command(3, Command::Leave);
    for term in 2..20 {
        depose(&mut call, turn(term), term);
        late.advance(&mut call, 80);
    }
    assert_eq!(members(&call, 1), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// A30. The application removes a member; the relay withholds that commit and changes the lead. -> `command_failed` at the
/// lead that was, at once: its application knows that the member is still in.
#[test]
fn a30_a_removal_withheld() {
    let mut call = RELAY.call_of(4);
    call.lead = Some((Term(2), Joined(2)));
    call.command(0, Command::Remove(Joined(4)));
    call.advance(500);
    depose(&mut call, (1, 2), 2);
    call.advance(1_000);
    assert!(call.members[0].events.contains(&Event::CommandFailed(CommandError::NotLead)));
    call.assert_harmless();
}

/// A31. The relay hides a leave and changes the lead; of each reign it lets the first commit through and none of those that would
/// remove who is silent. -> harmless: whose time is over goes with the first commit of the next reign.
#[test]
fn a31_the_commit_against_a_hidden_leave_withheld() {
    let mut call = RELAY.call_of(4);
    call.relay_does(|_, message| hides(message, true));
    call.command(3, Command::Leave);
    for term in 2..26 {
        depose(&mut call, turn(term), term);
        call.advance(4_000);
    }
    assert_eq!(members(&call, 1), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// A32. In a call of 34, where only the lead hears who is there, the relay hides a leave and changes the lead every 1.5 s, or every 45 s
/// and keeps all commits back but the first of each reign. -> harmless: the two seconds that a new lead gives at least are given six
/// times.
#[test]
fn a32_elections_in_a_large_call() {
    for (reigns, time, withheld) in [(62, 1_500, false), (18, 45_000, true)] {
        let mut call = RELAY.call_of(34);
        call.relay_does(move |_, message| hides(message, withheld));
        call.command(33, Command::Leave);
        for term in 2..2 + reigns {
            depose(&mut call, turn(term), term);
            call.advance(time);
        }
        assert_eq!(members(&call, 1), (1..34).collect::<Vec<_>>());
        call.assert_shut_out(33, 1);
        if !withheld {
            drop(call.again());
        }
    }
}

/// A33. The relay tells the lead alone of a leave, keeps the commit back, changes the lead, and says that the member is there again. ->
/// harmless: what it owed it still owes.
#[test]
fn a33_a_leave_told_and_taken_back() {
    let mut call = RELAY.call_of(4);
    call.relay_does(|_, message| hides(message, true));
    let member = MemberClaim { committed: true, present: true, ..call.claimed(Joined(4)) };
    call.command(3, Command::Leave);
    for term in 2..9 {
        let lead = usize::from(term % 2 == 1);
        let left = MemberLeft { at: call.at(), joined: Joined(4), reason: LeftReason::Closed };
        call.input(lead, Input::Received(left.into()));
        depose(&mut call, turn(term), term);
        call.settle();
        let again = MemberJoined { at: call.at(), member: member.clone() };
        call.input(lead, Input::Received(again.into()));
        call.advance(25_000);
    }
    assert_eq!(members(&call, 1), [1, 2, 3]);
    call.assert_shut_out(3, 1);
}

/// A34. The relay keeps back what a member says to its leads over Olm, hides that it leaves, and plays one of those in every reign that
/// follows. -> harmless: what was said of an earlier epoch shows nobody in a later one.
#[test]
fn a34_olm_messages_kept_for_later() {
    let (mut call, kept) = (RELAY.call_of(4), Rc::<RefCell<Vec<(usize, OlmFrom)>>>::default());
    let keep = Rc::clone(&kept);
    call.relay_does(move |to, message| match message {
        ToClient::Olm(olm) if olm.from == Joined(4) => {
            keep.borrow_mut().push((to, olm));
            vec![]
        }
        message if tells_of_a_leave(&message) => vec![],
        message => vec![message],
    });
    for term in 2..22 {
        depose(&mut call, turn(term), term);
        call.advance(500);
    }
    call.command(3, Command::Leave);
    let mut played = 0;
    for term in 22..28 {
        let ((from, to), lead) = (turn(term), usize::from(term.is_multiple_of(2)));
        depose(&mut call, (from, to), term);
        call.advance(500);
        let next = kept.borrow().iter().position(|(to, _)| *to == lead);
        let (_, olm) = kept.borrow_mut().remove(next.expect("it spoke to both"));
        played += 1;
        let olm = OlmFrom { at: call.at(), ..olm };
        call.input(lead, Input::Received(olm.into()));
        call.advance(25_000);
    }
    assert_eq!((members(&call, 1), played), (vec![1, 2, 3], 6));
    call.assert_shut_out(3, 1);
}

/// A35. The relay keeps a commit back for six seconds and passes it on; later it hides a leave and keeps the commit against it for good.
/// -> `commit_stalled` at the lead 5 s after that commit as well.
#[test]
fn a35_a_second_commit_withheld() {
    let (mut call, kept) = (RELAY.call_of(4), Rc::<RefCell<Vec<(usize, Committed)>>>::default());
    let keep = Rc::clone(&kept);
    call.relay_does(move |to, message| match message {
        ToClient::Commit(commit) => {
            keep.borrow_mut().push((to, commit));
            vec![]
        }
        message if tells_of_a_leave(&message) => vec![],
        message => vec![message],
    });
    call.command(0, Command::Rotate);
    call.advance(6_000);
    let at = call.at();
    for (to, commit) in kept.take() {
        call.input(to, Input::Received(Committed { at, ..commit }.into()));
    }
    call.advance(30_000);
    call.command(3, Command::Leave);
    let since = call.now;
    call.advance(50_000);
    call.assert_told(0, since, 45_000, SecurityEvent::CommitStalled { epoch: epoch(1, 5) });
}

/// A36. The relay hides a leave and names two leads in turn, of which it passes on what the first one commits; the other leads for less
/// than three seconds each time, and none of its commits is sequenced. -> `commit_stalled` at the other, once it has led so for 5 s.
#[test]
fn a36_short_reigns_without_a_commit() {
    let mut call = RELAY.call_of(4);
    call.relay_does(|_, message| hides(message, false));
    call.command(3, Command::Leave);
    let since = call.now;
    for term in 2..10 {
        depose(&mut call, turn(term), term);
        if term.is_multiple_of(2) {
            call.lead = None;
        }
        call.advance(if term.is_multiple_of(2) { 2_900 } else { 500 });
    }
    call.assert_told(1, since, 15_000, SecurityEvent::CommitStalled { epoch: epoch(4, 0) });
}
