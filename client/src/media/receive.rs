//! Receiving one track: packets in, whole frames to [`Opening`], requests for key frames out.

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::{
    assemble::{Assembler, Came, Packet},
    format::Format,
    opening::{Handle, Opening},
};
use conclave_shared::id::{Joined, Seat};

/// Layers of one track at most: what browsers send in simulcast, and one to spare.
const LAYERS: usize = 4;
/// Between two requests for a key frame: a round trip, and the time to make one.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(500);

/// Which format a payload type stands for, as negotiated with one member.
pub(super) type PayloadTypes = Arc<Mutex<BTreeMap<u8, Format>>>;

/// What a receiving task needs.
pub(super) struct Receiving {
    pub(super) track: Arc<dyn TrackRemote>,
    /// Who sends, by what name, on which seat.
    pub(super) from: (Joined, String, Seat),
    pub(super) payload_types: PayloadTypes,
    pub(super) opening: Arc<Opening>,
}

struct Layer {
    assembler: Assembler,
    handle: Handle,
    asked: Option<Instant>,
}

impl Receiving {
    /// Receives until the track ends.
    pub(super) async fn run(self) {
        // Ends the streams when the task is dropped, too.
        let mut layers = Layers { by_ssrc: BTreeMap::new(), opening: self.opening.clone() };
        loop {
            let due = layers.by_ssrc.values().filter_map(|layer| layer.assembler.due()).min();
            tokio::select! {
                event = self.track.poll() => match event {
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => self.take(&mut layers, packet),
                    None | Some(TrackRemoteEvent::OnEnded) => return,
                    Some(_) => {}
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            for (ssrc, layer) in &mut layers.by_ssrc {
                layer.advance(&self.opening);
                if layer.is_to_ask() {
                    self.opening.asked(layer.handle.id);
                    let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: *ssrc };
                    // A connection that is closing takes no request, and needs none.
                    let _ = self.track.write_rtcp(vec![Box::new(request)]).await;
                }
            }
        }
    }

    fn take(&self, layers: &mut Layers, packet: rtc::rtp::Packet) {
        let header = packet.header;
        let format = {
            let types = self.payload_types.lock().unwrap_or_else(PoisonError::into_inner);
            types.get(&header.payload_type).copied()
        };
        let Some(format) = format else { return };
        let changed = layers.by_ssrc.get(&header.ssrc).is_some_and(|layer| layer.assembler.format() != format);
        if changed {
            layers.end(header.ssrc);
        }
        if !layers.by_ssrc.contains_key(&header.ssrc) {
            if layers.by_ssrc.len() >= LAYERS {
                return;
            }
            let handle = self.opening.begin(self.from.clone(), format);
            let layer = Layer { assembler: Assembler::new(format), handle, asked: None };
            layers.by_ssrc.insert(header.ssrc, layer);
        }
        if let Some(layer) = layers.by_ssrc.get_mut(&header.ssrc) {
            let packet = Packet {
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                marker: header.marker,
                payload: packet.payload,
            };
            layer.assembler.push(Instant::now(), packet);
        }
    }
}

impl Layer {
    fn advance(&mut self, opening: &Opening) {
        while let Some(came) = self.assembler.next(Instant::now()) {
            match came {
                Came::Frame(time, frame) => opening.arrived(self.handle.id, time, &frame),
                Came::Gap => opening.gap(self.handle.id),
            }
        }
    }

    /// Whether to ask for a key frame now.
    fn is_to_ask(&mut self) -> bool {
        let rested = self.asked.is_none_or(|asked| asked.elapsed() >= BETWEEN_REQUESTS);
        let ask = rested && self.handle.wants_key();
        if ask {
            self.asked = Some(Instant::now());
        }
        ask
    }
}

struct Layers {
    by_ssrc: BTreeMap<u32, Layer>,
    opening: Arc<Opening>,
}

impl Layers {
    fn end(&mut self, ssrc: u32) {
        if let Some(layer) = self.by_ssrc.remove(&ssrc) {
            self.opening.end(layer.handle.id);
        }
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for layer in self.by_ssrc.values() {
            self.opening.end(layer.handle.id);
        }
    }
}
