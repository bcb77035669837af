//! The relay's life: accept, serve, and go away politely.

use axum::Router;
use conclave_shared::id::RelayInstance;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::MissedTickBehavior,
};
use tower::ServiceExt as _;

use crate::{
    address::Addresses,
    admission::Admissions,
    call::CallConfig,
    calls::Calls,
    config::Config,
    connection::Relay,
    http::{self, Peer},
};

/// How often calls are woken whose time has come: the silence of a lead is noticed that much late at most.
const SWEEP: Duration = Duration::from_millis(200);
/// A pause after an accept that failed: the machine is out of something, and asking at once again takes more of it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After the last close frame, for the sockets to take it.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// Serves on a bound listener until `shutdown` ends, then sends everybody away.
///
/// # Errors
/// When the listener has no address, or the system gives no random bytes.
pub async fn run(listener: TcpListener, config: Config, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let own = listener.local_addr()?;
    let mut instance = [0; RelayInstance::LENGTH];
    getrandom::fill(&mut instance).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let instance = RelayInstance::new(instance);
    let (closing_now, closing) = watch::channel(false);
    let limits = config.limits.clone();
    let call = CallConfig { relay: instance, ice_servers: config.ice_servers.clone(), members: limits.members };
    let calls = Arc::new(Calls::new(call, limits.calls));
    let admissions = Admissions::new(&config);
    let relay = Relay { instance, admissions, calls: Arc::clone(&calls), limits: limits.clone(), closing };
    let accept = Accept {
        router: http::router(Arc::new(relay), &config),
        addresses: Arc::new(Addresses::new(limits.waiting_per_address, limits.new_per_second_per_address)),
        room: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
        header_time: limits.header_time,
        port: own.port(),
    };
    announce(&config, own, instance);
    let sweep = sweep(&calls);
    let mut sweep = std::pin::pin!(sweep);
    tokio::select! {
        () = accept.forever(&listener) => {}
        () = &mut sweep => {}
        () = shutdown => {}
    }
    drop(listener);
    // Connections that have not joined hear it here; the send fails only when there is none.
    let _none = closing_now.send(true);
    tokio::select! {
        () = close_all(&calls, limits.drain) => {}
        () = sweep => {}
    }
    Ok(())
}

/// Wakes calls for ever. A relay that was stopped for a while has unread messages in all its sockets: they come first, or
/// who spoke meanwhile would seem to have been silent. After one round of waiting it is only slow, and goes on.
async fn sweep(calls: &Calls) {
    let mut every = tokio::time::interval(SWEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = Rounds { last: Instant::now(), waited: false };
    loop {
        every.tick().await;
        if rounds.go(Instant::now()) {
            calls.sweep();
        }
    }
}

/// Which rounds of waking calls are left out.
struct Rounds {
    last: Instant,
    waited: bool,
}

impl Rounds {
    fn go(&mut self, now: Instant) -> bool {
        let late = now.duration_since(self.last) > 2 * SWEEP;
        self.last = now;
        self.waited = late && !self.waited;
        !self.waited
    }
}

fn announce(config: &Config, own: SocketAddr, instance: RelayInstance) {
    tracing::info!(address = %own, relay = %instance, "relay is up");
    if config.dev {
        tracing::warn!(
            "DEVELOPMENT MODE: anybody who opens this relay's page on this machine is given a token for any call"
        );
    }
    if config.web_dir.is_none() {
        tracing::info!("no page is served: CONCLAVE_WEB_DIR is not set");
    }
}

/// Sends everybody away, one call after the other over `drain`, so that they do not come back all at once. A call goes as
/// a whole: half of it here and half of it at the next relay would be two calls.
async fn close_all(calls: &Calls, drain: Duration) {
    let closing = calls.announce_closing(drain);
    if closing.is_empty() {
        tokio::time::sleep(LAST_MOMENT.min(drain)).await;
        return;
    }
    tracing::info!(calls = closing.len(), seconds = drain.as_secs_f32(), "closing");
    let began = Instant::now();
    for (call, after) in closing {
        tokio::time::sleep(after.saturating_sub(began.elapsed())).await;
        call.close();
    }
    tokio::time::sleep(LAST_MOMENT).await;
}

/// What every accepted connection needs.
struct Accept {
    router: Router,
    addresses: Arc<Addresses>,
    room: Arc<Semaphore>,
    header_time: Duration,
    port: u16,
}

impl Accept {
    async fn forever(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.one(stream, address),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection in a task of its own; drops it when there is no room.
    fn one(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::debug!("connection dropped: as many as there may be");
            return;
        };
        let Some(waiting) = self.addresses.accept(address.ip()) else {
            tracing::debug!("connection dropped: too many from one address");
            return;
        };
        // Small messages must not wait for one another.
        let _as_it_is = stream.set_nodelay(true);
        let peer = Peer { address, port: self.port, waiting, _place: Arc::new(permit) };
        tokio::spawn(http_connection(stream, self.router.clone(), peer, self.header_time));
    }
}

/// `axum::serve` installs no timer, and without one a half-sent request head waits for ever.
async fn http_connection(stream: TcpStream, router: Router, peer: Peer, header_time: Duration) {
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(axum::body::Body::new)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_one_round_is_left_out_and_a_slow_relay_still_goes_on() {
        let began = Instant::now();
        let mut rounds = Rounds { last: began, waited: false };
        assert!(rounds.go(began + SWEEP));
        assert!(!rounds.go(began + 30 * SWEEP));
        assert!(rounds.go(began + 31 * SWEEP));
        let slow: Vec<bool> = (0..4).map(|round| rounds.go(began + (40 + 10 * round) * SWEEP)).collect();
        assert_eq!(slow, [false, true, false, true]);
    }
}
