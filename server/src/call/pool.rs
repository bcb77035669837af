//! The one-time keys of one member: each handed out at most once.

use conclave_shared::{
    id::{Joined, Signature},
    wire::{ClaimedKey, Keys, signed::KeyBatch},
};
use std::collections::VecDeque;

/// Signed batches that are kept for one member: a full one, and refills that came before it was used up.
pub const BATCHES: usize = 4;
/// Keys left at which the member is asked for more: two leads may follow one another before it answers.
pub(super) const LOW: usize = 2;

#[derive(Debug)]
struct Batch {
    keys: KeyBatch,
    /// Absent for the batch that the join proof signs.
    signature: Option<Signature>,
    /// One-time keys of this batch that were handed out, from the front.
    used: usize,
}

impl Batch {
    fn left(&self) -> usize {
        self.keys.one_time_keys.len().saturating_sub(self.used)
    }
}

/// Never without a fallback key.
#[derive(Debug)]
pub(super) struct KeyPool {
    newest: Batch,
    /// Batches before the newest that still have keys, oldest first.
    older: VecDeque<Batch>,
}

impl KeyPool {
    /// The pool that a member joins with.
    pub(super) const fn new(keys: KeyBatch) -> Self {
        Self { newest: Batch { keys, signature: None, used: 0 }, older: VecDeque::new() }
    }

    /// The pool of a member whose join proof signs other keys, long used up.
    pub(super) fn signed(Keys { keys, signature }: Keys) -> Self {
        Self { newest: Batch { keys, signature: Some(signature), used: 0 }, older: VecDeque::new() }
    }

    /// Takes another batch in, whose fallback key replaces the one before. The oldest batch gives way.
    pub(super) fn add(&mut self, keys: KeyBatch, signature: Option<Signature>) {
        let before = std::mem::replace(&mut self.newest, Batch { keys, signature, used: 0 });
        if before.left() > 0 {
            self.older.push_back(before);
        }
        while self.older.len() >= BATCHES {
            self.older.pop_front();
        }
    }

    /// Hands one key out: the oldest one-time key, or the fallback key when none is left.
    pub(super) fn take(&mut self, joined: Joined) -> ClaimedKey {
        let from_older = self.older.front_mut().filter(|batch| batch.left() > 0);
        let batch = from_older.unwrap_or(&mut self.newest);
        let index = u16::try_from(batch.used).ok().filter(|_| batch.left() > 0);
        if index.is_some() && !conclave_shared::planted!(OneTimeKeyTwice) {
            batch.used += 1;
        }
        let claimed = ClaimedKey { joined, batch: batch.keys.clone(), index, signature: batch.signature };
        if self.older.front().is_some_and(|batch| batch.left() == 0) {
            self.older.pop_front();
        }
        claimed
    }

    /// One-time keys left.
    pub(super) fn left(&self) -> usize {
        self.older.iter().map(Batch::left).sum::<usize>() + self.newest.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_shared::id::Curve25519Key;
    use std::collections::BTreeSet;

    fn batch(first: u8, count: u8) -> KeyBatch {
        KeyBatch {
            one_time_keys: (first..first + count).map(|byte| Curve25519Key::new([byte; 32])).collect(),
            fallback_key: Curve25519Key::new([first + 100; 32]),
        }
    }

    fn key(claimed: &ClaimedKey) -> Curve25519Key {
        claimed.index.map_or(claimed.batch.fallback_key, |index| claimed.batch.one_time_keys[usize::from(index)])
    }

    #[test]
    fn every_key_is_handed_out_once_and_then_the_newest_fallback_key() {
        let mut pool = KeyPool::new(batch(0, 3));
        let mut seen = BTreeSet::from([key(&pool.take(Joined(1)))]);
        pool.add(batch(10, 2), Some(Signature::new([1; 64])));
        assert_eq!(pool.left(), 4);
        for _ in 0..4 {
            assert!(seen.insert(key(&pool.take(Joined(1)))));
        }
        assert_eq!(pool.left(), 0);
        for _ in 0..2 {
            let claimed = pool.take(Joined(1));
            assert_eq!((claimed.index, key(&claimed)), (None, Curve25519Key::new([110; 32])));
            assert!(claimed.signature.is_some(), "the fallback key is the refill's");
        }
    }

    #[test]
    fn a_batch_of_only_a_fallback_key_is_enough() {
        let mut pool = KeyPool::new(batch(0, 0));
        assert_eq!(pool.take(Joined(1)).index, None);
        pool.add(batch(10, 1), None);
        assert_eq!(pool.take(Joined(1)).index, Some(0));
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = KeyPool::new(batch(0, 10));
        for _ in 0..20 {
            pool.add(batch(10, 10), None);
        }
        assert_eq!(pool.left(), BATCHES * 10);
    }
}
