//! What a peer takes from the other side, with a real connection that goes nowhere.

use super::*;
use crate::Client;
use conclave_shared::{frame::Frames, id::Ed25519Key};
use std::net::Ipv4Addr;

async fn peer() -> Peer {
    let (says, _) = mpsc::channel(HAPPENED);
    let client = Client::with_frames(Frames::new(Ed25519Key::new([0; 32])));
    let options = PeerOptions {
        joined: Joined(1),
        user: "Mallory".to_owned(),
        seat: Seat(1),
        allowance: Arc::default(),
        n: 0,
        initiator: false,
        place: Place { addresses: vec![Ipv4Addr::LOCALHOST.into()], ice_servers: Vec::new(), loss: 0 },
        publications: Vec::new(),
        opening: Arc::new(Opening::new(client, None, None)),
        says,
    };
    let library = Arc::new(Library::new());
    let connection = engine::connection(&options.place, library.clone()).await.expect("a connection");
    Peer::new(options, connection, library)
}

fn candidate(n: usize) -> String {
    format!("candidate:{n} 1 udp 2130706431 192.0.2.1 {} typ host", 1024 + n)
}

#[tokio::test]
async fn candidates_are_counted_over_all_signals_and_an_offer_with_too_many_gives_the_connection_up() {
    let mut peer = peer().await;
    let candidates = |from: usize| {
        let candidates = (from..from + 50).map(|n| Candidate { candidate: candidate(n), ..Candidate::default() });
        Signal::Candidates { n: 0, candidates: candidates.collect() }
    };
    for from in [0, 50] {
        peer.take(candidates(from)).await.expect("those that are too many are passed over");
    }
    assert!(peer.remote.takes(&candidate(63)) && !peer.remote.takes(&candidate(64)));
    let sdp = format!("v=0\r\na={}\r\n", candidate(64));
    let offer = Signal::Description { n: 0, kind: DescriptionKind::Offer, sdp };
    let error = peer.take(offer).await.expect_err("refused");
    assert!(error.to_string().contains("more than 64 candidates"), "{error}");
    peer.close().await;
}
