//! Receiving one track: packets in, whole frames to [`Opening`], requests for key frames out.

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
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
/// How often the format within one layer may change: each change ends a stream and begins another, and who calls
/// speaks of one again only when somebody comes or goes who takes less.
const CHANGES: u32 = 8;
/// Streams of one member at most, over all connections with them: sound and picture of a hundred connections. Each is
/// told of for the rest of the call, and a file where this device records.
const STREAMS: u32 = 256;
/// Between two requests for a key frame: a round trip, and the time to make one.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(500);

/// Which format a payload type stands for, as negotiated with one member.
pub(super) type PayloadTypes = Arc<Mutex<BTreeMap<u8, Format>>>;

/// Counts the streams of one member. Lasts as long as the member is there.
#[derive(Debug, Default)]
pub(super) struct Allowance(AtomicU32);

impl Allowance {
    /// Whether one more stream of this member may begin.
    fn take(&self, member: Joined) -> bool {
        let more = |begun: u32| (begun < STREAMS).then_some(begun + 1);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if before.is_ok_and(|before| before + 1 == STREAMS) {
            tracing::warn!(%member, "this is the last stream of a member that has begun very many");
        }
        before.is_ok()
    }
}

/// What a receiving task needs.
pub(super) struct Receiving {
    pub(super) track: Arc<dyn TrackRemote>,
    /// Who sends, by what name, on which seat.
    pub(super) from: (Joined, String, Seat),
    pub(super) allowance: Arc<Allowance>,
    pub(super) payload_types: PayloadTypes,
    pub(super) opening: Arc<Opening>,
}

struct Layer {
    assembler: Assembler,
    handle: Handle,
    asked: Option<Instant>,
    /// How often its format changed.
    changes: u32,
}

impl Receiving {
    /// Receives until the track ends.
    pub(super) async fn run(self) {
        // Ends the streams when the task is dropped, too.
        let Self { track, from, allowance, payload_types, opening } = self;
        let mut layers = Layers { by_ssrc: BTreeMap::new(), from, allowance, opening: opening.clone() };
        loop {
            let due = layers.by_ssrc.values().filter_map(|layer| layer.assembler.due()).min();
            tokio::select! {
                event = track.poll() => match event {
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                        let types = payload_types.lock().unwrap_or_else(PoisonError::into_inner);
                        let format = types.get(&packet.header.payload_type).copied();
                        drop(types);
                        if let Some(format) = format {
                            layers.take(format, packet);
                        }
                    }
                    None | Some(TrackRemoteEvent::OnEnded) => return,
                    Some(_) => {}
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            for (ssrc, layer) in &mut layers.by_ssrc {
                layer.advance(&opening);
                if layer.is_to_ask() {
                    opening.asked(layer.handle.id);
                    let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: *ssrc };
                    // A connection that is closing takes no request, and needs none.
                    let _ = track.write_rtcp(vec![Box::new(request)]).await;
                }
            }
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
    from: (Joined, String, Seat),
    allowance: Arc<Allowance>,
    opening: Arc<Opening>,
}

impl Layers {
    fn take(&mut self, format: Format, packet: rtc::rtp::Packet) {
        let header = packet.header;
        if !self.prepare(header.ssrc, format) {
            return;
        }
        if let Some(layer) = self.by_ssrc.get_mut(&header.ssrc) {
            let packet = Packet {
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                marker: header.marker,
                payload: packet.payload,
            };
            layer.assembler.push(Instant::now(), packet);
        }
    }

    /// Whether there is a stream of this format, or one may begin. What runs is not ended for one that may not.
    fn prepare(&mut self, ssrc: u32, format: Format) -> bool {
        let running = self.by_ssrc.get(&ssrc);
        if running.is_some_and(|layer| layer.assembler.format() == format) {
            return true;
        }
        let may = running.map_or(self.by_ssrc.len() < LAYERS, |layer| layer.changes < CHANGES);
        if !may || !self.allowance.take(self.from.0) {
            return false;
        }
        let changes = running.map_or(0, |layer| layer.changes + 1);
        if let Some(layer) = self.by_ssrc.remove(&ssrc) {
            self.opening.end(layer.handle.id);
        }
        let handle = self.opening.begin(self.from.clone(), format);
        let layer = Layer { assembler: Assembler::new(format), handle, asked: None, changes };
        self.by_ssrc.insert(ssrc, layer);
        true
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for layer in self.by_ssrc.values() {
            self.opening.end(layer.handle.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;
    use conclave_shared::{frame::Frames, id::Ed25519Key};
    use rtc::rtp::{Packet as RtpPacket, header::Header};

    fn opening() -> Arc<Opening> {
        Arc::new(Opening::new(Client::with_frames(Frames::new(Ed25519Key::new([0; 32]))), None, None))
    }

    fn layers(opening: &Arc<Opening>, allowance: &Arc<Allowance>) -> Layers {
        let from = (Joined(1), "Mallory".to_owned(), Seat(1));
        Layers { by_ssrc: BTreeMap::new(), from, allowance: allowance.clone(), opening: opening.clone() }
    }

    fn packet(ssrc: u32) -> RtpPacket {
        RtpPacket { header: Header { ssrc, ..Header::default() }, ..RtpPacket::default() }
    }

    #[test]
    fn a_format_that_changes_with_every_packet_soon_changes_no_more() {
        let (opening, allowance) = (opening(), Arc::default());
        let mut layers = layers(&opening, &allowance);
        for format in [Format::Vp8, Format::Vp9].into_iter().cycle().take(1000) {
            layers.take(format, packet(7));
        }
        let streams = opening.report();
        assert_eq!(streams.len(), usize::try_from(CHANGES).expect("few") + 1);
        assert_eq!(streams.iter().filter(|stream| !stream.over).count(), 1, "the last one goes on");
    }

    #[test]
    fn one_member_begins_so_many_streams_and_takes_none_from_others() {
        let (opening, allowance) = (opening(), Arc::default());
        let mut running = layers(&opening, &allowance);
        running.take(Format::Vp8, packet(1));
        for track in 0..STREAMS * 2 {
            layers(&opening, &allowance).take(Format::Vp8, packet(track));
        }
        running.take(Format::Vp9, packet(1));
        let streams = opening.report();
        assert_eq!(streams.len(), usize::try_from(STREAMS).expect("few"));
        assert!(streams.iter().any(|stream| !stream.over), "what runs is not ended for one that is refused");
        layers(&opening, &Arc::default()).take(Format::Vp8, packet(1));
        assert_eq!(opening.report().len(), streams.len() + 1, "another member");
    }
}
