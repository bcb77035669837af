//! What one network address may have open and begin.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Addresses that are remembered at once; beyond it those that have nothing open are forgotten.
const ADDRESSES: usize = 65_536;
/// Sockets of one address that have not joined, as a multiple of those that may wait for their join: beyond it they are
/// dropped without a word, so that half-open ones cannot use up the relay.
const SOCKETS_PER_WAITING: u32 = 2;

/// Counts per address. An IPv6 household has a /64, so that is one address here.
#[derive(Debug)]
pub(crate) struct Addresses {
    waiting: u32,
    new_per_second: u32,
    counts: Mutex<BTreeMap<IpAddr, Count>>,
}

#[derive(Debug)]
struct Count {
    waiting: u32,
    bucket: Bucket,
}

impl Addresses {
    pub(crate) const fn new(waiting: u32, new_per_second: u32) -> Self {
        Self { waiting, new_per_second, counts: Mutex::new(BTreeMap::new()) }
    }

    /// A socket was accepted; `None` when its address has too many that have not joined.
    pub(crate) fn accept(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Waiting>> {
        let address = household(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES {
            counts.retain(|_, count| count.waiting > 0);
        }
        let fresh = || Count { waiting: 0, bucket: Bucket::new(self.new_per_second, self.new_per_second) };
        let count = counts.entry(address).or_insert_with(fresh);
        if count.waiting >= self.waiting.saturating_mul(SOCKETS_PER_WAITING) {
            return None;
        }
        count.waiting += 1;
        Some(Arc::new(Waiting { addresses: Arc::clone(self), address, over: AtomicBool::new(false) }))
    }
}

/// A socket that has not joined yet: counts against its address until it joins or closes.
#[derive(Debug)]
pub(crate) struct Waiting {
    addresses: Arc<Addresses>,
    address: IpAddr,
    over: AtomicBool,
}

impl Waiting {
    /// The address may begin another WebSocket connection.
    pub(crate) fn may_connect(&self) -> bool {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |count: &mut Count| count.waiting <= self.addresses.waiting && count.bucket.take();
        counts.get_mut(&self.address).is_none_or(within)
    }

    /// It joined.
    pub(crate) fn release(&self) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            count.waiting = count.waiting.saturating_sub(1);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.release();
    }
}

fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// So many at once, so many in a second.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { per_second: per_second.into(), burst, tokens: burst, at: Instant::now() }
    }

    /// Takes one; `false` when there is none.
    pub(crate) fn take(&mut self) -> bool {
        self.take_with(1.0)
    }

    /// Takes one of a bucket that is `factor` times as large.
    pub(crate) fn take_with(&mut self, factor: f64) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let cost = 1.0 / factor;
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_waiting_and_a_join_makes_room() {
        let addresses = Arc::new(Addresses::new(2, 1000));
        let home: IpAddr = "2001:db8::1".parse().expect("an address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("an address");
        let sockets: Vec<_> = (0..4).map(|_| addresses.accept(home).expect("within twice the bound")).collect();
        assert!(!sockets[3].may_connect());
        assert!(addresses.accept(neighbour).is_none(), "the same /64");
        assert!(addresses.accept("2001:db8:0:1::1".parse().expect("an address")).is_some());
        sockets[0].release();
        sockets[0].release();
        assert!(!sockets[3].may_connect(), "a socket is released once");
        sockets[1].release();
        assert!(sockets[3].may_connect());
        drop(sockets);
        assert_eq!(addresses.counts.lock().expect("not poisoned")[&household(home)].waiting, 0);
    }

    #[test]
    fn a_bucket_runs_dry_and_fills_again() {
        let mut bucket = Bucket::new(1000, 2);
        assert!(bucket.take() && bucket.take());
        let dry = !bucket.take();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(dry && bucket.take());
    }
}
