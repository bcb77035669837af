//! Lies to somebody who comes back, and about them.

use crate::{
    ANOTHER, NONCE, RESUME, SAME,
    attack::{
        Attack, SOON, eve,
        insider::{Insider, peer},
    },
    comes_back,
};
use conclave_shared::{
    frame::clear_bytes::Codec,
    id::{CallName, Joined, RelayInstance, RelayNonce, Seat, Sequence, Term},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
        output::{EndReason, Event, Link},
    },
    wire::{
        At, AwayReason, BodyFrom, ClaimedKey, Lead, MemberAway, MemberBack, MemberClaim, Resumed, ToClient, ToRelay,
        Welcome,
        code::{Code, Retry},
        signed::{resume_bytes, verify},
    },
};

/// R2. The relay keeps the signature by which a member took its seat again, and uses it on another connection, in another
/// call, for another join, and as word of what the member holds. -> harmless: it verifies for none of them.
#[test]
fn r02_a_signature_of_a_return_used_again() {
    let mut call = RESUME.call_of(3);
    let ToRelay::Resume(resume) = comes_back(&mut call, 2, SAME) else { panic!("the relay is the same") };
    let (own, other) = (peer(&call, Joined(3)), peer(&call, Joined(2)));
    let holds = |call: &CallName, nonce: &RelayNonce, join, held| {
        verify(&own.end.ed25519, &resume_bytes(call, nonce, join, held), &resume.signature).is_ok()
    };
    let (name, another) = (call.call.clone(), CallName::new("another").unwrap());
    assert!(holds(&name, &NONCE, &own.end.join, None), "it is what it is for");
    assert!(!holds(&name, &RelayNonce::new([0; 32]), &own.end.join, None));
    assert!(!holds(&another, &NONCE, &own.end.join, None));
    assert!(!holds(&name, &NONCE, &other.end.join, None));
    call.input(2, Input::Received(Resumed { received: 1 << 20, until: Sequence(0) }.into()));
    let ToRelay::Restore(restore) = comes_back(&mut call, 2, ANOTHER) else { panic!("the relay is another") };
    assert!(!holds(&name, &NONCE, &own.end.join, Some(&restore.held)));
    let held = resume_bytes(&name, &NONCE, &own.end.join, Some(&restore.held));
    assert!(verify(&own.end.ed25519, &held, &restore.signature).is_ok());
    for lie in [(1, 0), (0, 1)] {
        let held = conclave_shared::wire::signed::Held {
            term: Term(restore.held.term.0 + lie.0),
            seat: Seat(restore.held.seat.0 + lie.1),
            ..restore.held
        };
        let bytes = resume_bytes(&name, &NONCE, &own.end.join, Some(&held));
        assert!(verify(&own.end.ed25519, &bytes, &restore.signature).is_err());
    }
}

/// A relay that says it was restarted takes a member's seat: it lists these.
pub(crate) fn restored(call: &mut Attack, index: usize, relay: RelayInstance, members: Vec<MemberClaim>) {
    let ToRelay::Restore(restore) = comes_back(call, index, relay) else { panic!("the relay is another") };
    let welcome = Welcome {
        at: At(relay, Sequence(1)),
        call: call.call.clone(),
        seat: restore.held.seat,
        joined: restore.held.joined,
        lead: None,
        members,
        ice_servers: vec![],
    };
    call.input(index, Input::Received(welcome.into()));
    call.settle();
}

/// R3. The relay pretends to have been restarted, again and again. -> harmless: roster and key stay, and no frame is ever
/// sealed with a counter that was used.
#[test]
fn r03_endless_restarts() {
    let mut call = RESUME.call_of(3);
    let (before, current) = (call.newest(2), call.assert_harmless());
    let mut sealed = std::collections::BTreeSet::new();
    for life in 0..20 {
        assert!(sealed.insert(call.members[2].frames.seal(Codec::Opus, b"the same words").unwrap()));
        let members = (1..4).map(|joined| call.claimed(Joined(joined))).collect();
        restored(&mut call, 2, RelayInstance::new([100 + life; 16]), members);
        call.command(2, Command::Send { to: None, payload: b"the same words".to_vec() });
        call.settle();
    }
    assert_eq!(call.newest(2), before);
    assert_eq!(call.members[2].session.active(), Some(current));
    let said = call.said.iter().filter(|(from, said)| *from == 2 && matches!(said, ToRelay::Body(_)));
    let texts: Vec<_> = said.map(|(_, said)| conclave_shared::wire::encode(said)).collect();
    let different: std::collections::BTreeSet<_> = texts.iter().collect();
    assert!(texts.len() >= 20 && different.len() == texts.len(), "no body is signed or sealed twice");
    call.assert_no_alarm_of(2);
}

/// R4. Somebody brings another member's seat to a relay that was restarted, which seats them there, and tells those who
/// come back. -> `rewritten`, at once; the roster stands, and nobody grants the thief anything.
#[test]
fn r04_a_seat_stolen_at_a_restart() {
    let mut call = RESUME.call_of(4);
    let (before, since) = (call.newest(1), call.now);
    let (_, join) = eve::outsider();
    let seat = call.claimed(Joined(4)).seat.0;
    let thief = MemberClaim { committed: true, ..eve::claim_of(&join, seat, 4) };
    let members = vec![call.claimed(Joined(2)), call.claimed(Joined(3)), thief];
    restored(&mut call, 1, ANOTHER, members);
    call.assert_told(1, since, SOON, SecurityEvent::Rewritten { joined: Joined(4) });
    assert_eq!(call.newest(1), before);
    let own = call.members[1].session.members();
    let listed = own.iter().find(|member| member.joined == Joined(4)).unwrap();
    assert_eq!(listed.ed25519, peer(&call, Joined(4)).end.ed25519);
    // It is named as lead, and given the thief's keys for the one whose seat it is.
    let lead = Lead { at: At(ANOTHER, Sequence(2)), term: Term(2), joined: Joined(2), genesis: false };
    let away = MemberAway { at: At(ANOTHER, Sequence(3)), joined: Joined(1), reason: AwayReason::Dropped };
    call.input(1, Input::Received(ToClient::from(MemberAway { at: At(ANOTHER, Sequence(2)), ..away })));
    call.input(1, Input::Received(Lead { at: At(ANOTHER, Sequence(3)), ..lead }.into()));
    assert!(call.members[1].session.is_lead());
    let keys = vec![ClaimedKey { joined: Joined(4), batch: join.keys, index: Some(0), signature: None }];
    call.input(1, Input::Received(conclave_shared::wire::Claimed { keys }.into()));
    call.advance(SOON);
    let granted = call.said.iter().filter_map(|(from, said)| match said {
        ToRelay::Commit(commit) if *from == 1 => Some(commit.grants.clone()),
        _ => None,
    });
    assert!(granted.flatten().all(|(to, _)| to != Joined(4)), "nothing is sealed to the thief");
}

/// R5. The relay pretends to have been restarted and gives a member another seat, another number, or another lead. -> The
/// member believes none of it: it ends, with its keys wiped, and joins again.
#[test]
fn r05_another_seat_at_a_restart() {
    for lie in 0..3 {
        let mut call = RESUME.call_of(3);
        let ToRelay::Restore(restore) = comes_back(&mut call, 2, ANOTHER) else { panic!("the relay is another") };
        let welcome = Welcome {
            at: At(ANOTHER, Sequence(1)),
            call: call.call.clone(),
            seat: Seat(restore.held.seat.0 + u16::from(lie == 0)),
            joined: Joined(restore.held.joined.0 + u64::from(lie == 1)),
            lead: (lie == 2).then_some((Term(7), Joined(3))),
            members: vec![],
            ice_servers: vec![],
        };
        call.input(2, Input::Received(welcome.into()));
        let ended = call.members[2].ended().expect("it ends");
        assert_eq!(ended, if lie == 2 { EndReason::OutOfStep } else { EndReason::Closed(Code::LostSeat) });
        assert_eq!(ended.retry(), Retry::Later);
        assert!(call.members[2].frames.seal(Codec::Opus, b"sound").is_err());
        call.advance(SOON);
        call.assert_harmless();
        if lie < 2 {
            drop(call.again());
        }
    }
}

/// R6. The relay hands the lead one member's one-time keys, properly signed by that member, as those of another. ->
/// `bad_keys` at the lead, at once: a batch is signed for one join.
#[test]
fn r06_keys_signed_for_another_join() {
    let mut call = RESUME.call_of(4);
    let ToRelay::Restore(restore) = comes_back(&mut call, 2, ANOTHER) else { panic!("the relay is another") };
    let keys = restore.keys.clone();
    call.input(2, Input::Received(Resumed { received: 0, until: Sequence(0) }.into()));
    call.relay_does(move |_, mut message| {
        if let ToClient::Claimed(claimed) = &mut message {
            for key in claimed.keys.iter_mut().filter(|key| key.joined == Joined(4)) {
                (key.batch, key.signature, key.index) = (keys.keys.clone(), Some(keys.signature), Some(0));
            }
        }
        vec![message]
    });
    let since = call.now;
    call.cut(2);
    call.cut(0);
    call.advance(SOON);
    call.assert_told(1, since, SOON, SecurityEvent::BadKeys { joined: Joined(4) });
    call.assert_shut_out(3, 1);
}

/// R7. The relay says of everybody but one that they are away, and names that one as lead. -> harmless: it can only choose
/// among those who are committed; everybody is told who is away and who leads, and all agree.
#[test]
fn r07_the_lead_moved_to_a_chosen_member() {
    let mut call = RESUME.call_of(4);
    for joined in 1..4 {
        let away = MemberAway { at: call.at(), joined: Joined(joined), reason: AwayReason::Silent };
        call.all(None, &away.into());
    }
    let since = call.now;
    let (term, joined) = (Term(2), Joined(4));
    let lead = Lead { at: call.at(), term, joined, genesis: false };
    call.lead = Some((term, joined));
    call.all(None, &lead.into());
    call.advance(SOON);
    for index in 0..4 {
        let changed = Event::LeadChanged { term, joined, me: index == 3 };
        assert!(call.members[index].told(|event| *event == changed).unwrap() >= since);
    }
    assert_eq!(call.assert_harmless().term(), term);
    call.assert_no_alarm();
}

/// R8. The relay plays what a member said before it dropped to those who come back later. -> `replay`, at once: numbers of
/// a join go on through every return.
#[test]
fn r08_bodies_from_before_a_restart() {
    let mut call = RESUME.call_of(3);
    let mut insider = Insider::of(&call, 2);
    let current = call.assert_harmless();
    let word = insider.body(current, None, conclave_shared::wire::sealed::Rotate {});
    call.say(2, word.clone());
    call.advance(1_000);
    let members = (1..4).map(|joined| call.claimed(Joined(joined))).collect();
    restored(&mut call, 1, ANOTHER, members);
    let since = call.now;
    let again = BodyFrom { at: At(ANOTHER, Sequence(2)), from: Joined(3), signed: word };
    call.input(1, Input::Received(again.into()));
    call.assert_told(1, since, SOON, SecurityEvent::Replay { from: Joined(3), n: (1 << 32) + 1 });
}

/// What a member said to all, as others heard it.
fn messages(call: &Attack, index: usize) -> usize {
    call.members[index].events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
}

/// R10. The relay says that it got nothing of what a member said, then that it got more than was ever said. ->
/// harmless: what was said before is said again, and nobody hears it twice; no key changes.
#[test]
fn r10_a_lie_about_what_was_received() {
    let mut call = RESUME.call_of(3);
    let current = call.assert_harmless();
    call.command(2, Command::Send { to: None, payload: b"said once".to_vec() });
    call.advance(1_000);
    assert_eq!(messages(&call, 1), 1);
    for received in [0, u64::MAX, u64::MAX - 1, 0] {
        assert!(matches!(comes_back(&mut call, 2, SAME), ToRelay::Resume(_)));
        call.input(2, Input::Received(Resumed { received, until: Sequence(0) }.into()));
        let back = MemberBack { at: call.at(), joined: Joined(3) };
        call.input(2, Input::Received(back.into()));
        call.advance(500);
        assert!(call.members[2].events.contains(&Event::Link(Link::Up)));
    }
    assert_eq!(messages(&call, 1), 1, "heard once");
    call.command(2, Command::Send { to: None, payload: b"said next".to_vec() });
    call.advance(SOON);
    assert_eq!(messages(&call, 1), 2, "and what is said next is heard");
    assert_eq!(call.assert_harmless(), current);
}

/// R11. The relay takes the lead's seat back without a word and without its last commit. -> `commit_stalled` at the lead
/// within 8 s; nothing is built on a commit that nobody got.
#[test]
fn r11_a_commit_lost_on_the_way() {
    let mut call = RESUME.call_of(3);
    let current = call.assert_harmless();
    call.muted.insert(0);
    call.command(0, Command::Rotate);
    call.settle();
    call.muted.clear();
    comes_back(&mut call, 0, SAME);
    let since = call.now;
    call.input(0, Input::Received(Resumed { received: u64::MAX, until: Sequence(0) }.into()));
    call.advance(8_000);
    let stalled = |event: &Event| matches!(event, Event::Security(SecurityEvent::CommitStalled { .. }));
    assert!(call.members[0].told(stalled).unwrap().as_millis() - since.as_millis() <= 8_000);
    assert_eq!(call.assert_harmless(), current);
}
