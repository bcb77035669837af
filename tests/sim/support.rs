//! What scenarios have in common.

use conclave_shared::{
    id::{Epoch, Role, Sequence, Term},
    wire::{At, ToClient, sealed::Cause},
};
use conclave_tests::{PeerId, world::World};
use std::time::Duration;

pub(crate) const fn epoch(term: u32, count: u32) -> Epoch {
    Epoch(Term(term), count)
}

/// Long enough for anything but the timers of seconds.
pub(crate) const SOON: Duration = Duration::from_secs(3);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A settled call of some members, who came one after the other.
pub(crate) fn call_of(world: &mut World, members: usize) -> Vec<PeerId> {
    (0..members).map(|number| joined(world, &format!("member {number}"), Role::Member)).collect()
}

/// Somebody joins and all settle.
pub(crate) fn joined(world: &mut World, user: &str, role: Role) -> PeerId {
    let peer = world.connect(user, role);
    settle(world);
    peer
}

/// Time passes, and then everything is as it should be.
pub(crate) fn settle(world: &mut World) {
    world.run_for(SOON);
    world.assert_clean();
    world.settled().expect("settled");
}

/// The seat of somebody who was killed is kept for ten seconds; then everything is as it should be.
pub(crate) fn settle_without(world: &mut World) {
    world.run_for(ms(11_000));
    settle(world);
}

/// The epochs that somebody was given, and why each began.
pub(crate) fn history(world: &World, peer: PeerId) -> Vec<(Epoch, Cause)> {
    world.peer(peer).epochs().map(|info| (info.epoch, info.cause)).collect()
}

/// Gives an event another place in the order: a relay that lies can.
pub(crate) fn renumber(message: &mut ToClient, number: impl Fn(u64) -> u64) {
    let At(_, Sequence(at)) = match message {
        ToClient::Welcome(event) => &mut event.at,
        ToClient::Joined(event) => &mut event.at,
        ToClient::Left(event) => &mut event.at,
        ToClient::Lead(event) => &mut event.at,
        ToClient::Commit(event) => &mut event.at,
        ToClient::Ack(event) => &mut event.at,
        ToClient::Olm(event) => &mut event.at,
        ToClient::Body(event) => &mut event.at,
        _ => return,
    };
    *at = number(*at);
}
