//! Sending one published clip over one connection: sealed frames into packets, requests for key frames back.

use rtc::{
    media_stream::MediaStreamTrack,
    rtp::{Packet, header::Header},
    rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters},
};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use webrtc::{
    media_stream::track_local::{TrackLocal, TrackLocalEvent, static_rtp::TrackLocalStaticRTP},
    rtp_transceiver::RtpSender,
};

use super::{
    engine::{codec, library_kind},
    format::{Format, Kind},
    payload::Payloader,
    publish::{Publication, Sealed},
};
use conclave_shared::crypto::random;

/// The name of the one stream that a member sends: its tracks belong together.
const STREAM: &str = "conclave";

/// A track of one connection.
pub(super) fn track(format: Format) -> Option<(Arc<TrackLocalStaticRTP>, u32)> {
    // Both are told to the other side in the clear; they must only differ from others.
    let ssrc = u32::from_be_bytes(random::bytes::<4>().ok()?) | 1;
    let id = u64::from_be_bytes(random::bytes::<8>().ok()?);
    let rtp_coding_parameters = RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters, codec: codec(format), ..RTCRtpEncodingParameters::default() };
    let kind = library_kind(format.kind());
    let track = MediaStreamTrack::new(STREAM.to_owned(), format!("{id:016x}"), String::new(), kind, vec![encoding]);
    Some((Arc::new(TrackLocalStaticRTP::new(track)), ssrc))
}

/// The payload type under which the other side takes a format; `None` when it does not.
pub(super) async fn payload_type(sender: &dyn RtpSender, format: Format) -> Option<u8> {
    let parameters = sender.get_parameters().await.ok()?;
    let mut codecs = parameters.rtp_parameters.codecs.iter();
    let fits = |mime: &str, parameters: &str| {
        // Without packetization mode 1 a picture must fit one packet (RFC 6184 section 6.2).
        Format::from_mime(mime) == Some(format)
            && (format != Format::H264 || parameters.contains("packetization-mode=1"))
    };
    let codec = codecs.find(|codec| fits(&codec.rtp_codec.mime_type, &codec.rtp_codec.sdp_fmtp_line));
    codec.map(|codec| codec.payload_type)
}

/// What a sending task needs.
pub(super) struct Sending {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) publication: Arc<Publication>,
}

impl Sending {
    /// Sends until the publication ends or the connection takes no more.
    pub(super) async fn run(self) {
        let format = self.publication.format;
        let mut frames = self.publication.frames();
        let mut payloader = Payloader::new(format);
        let Ok([high, low, a, b, c, d]) = random::bytes::<6>() else { return };
        let mut sequence = u16::from_be_bytes([high, low]);
        let offset = u32::from_be_bytes([a, b, c, d]);
        let mut broken = format.kind() == Kind::Video;
        let mut hears = true;
        loop {
            let sealed = tokio::select! {
                sealed = frames.recv() => sealed,
                event = self.track.poll(), if hears => match event {
                    // Only requests for key frames come this far.
                    Some(TrackLocalEvent::OnRtcpPacket(_)) => {
                        self.publication.want_key();
                        continue;
                    }
                    Some(_) => continue,
                    None => {
                        hears = false;
                        continue;
                    }
                },
            };
            let sealed = match sealed {
                Ok(sealed) => sealed,
                Err(RecvError::Lagged(_)) => {
                    broken = format.kind() == Kind::Video;
                    self.publication.want_key();
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            if broken && !sealed.key {
                continue;
            }
            broken = false;
            if self.write(&mut payloader, &mut sequence, offset, &sealed).await.is_none() {
                return;
            }
            self.publication.sent();
        }
    }

    async fn write(&self, payloader: &mut Payloader, sequence: &mut u16, offset: u32, sealed: &Sealed) -> Option<()> {
        let format = self.publication.format;
        let ticks = sealed.time.as_nanos() * u128::from(format.clock_rate()) / 1_000_000_000;
        let ticks = u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or_default();
        let payloads = payloader.split(sealed.key, &sealed.frame);
        let count = payloads.len();
        for (n, payload) in payloads.into_iter().enumerate() {
            let header = Header {
                version: 2,
                marker: format.kind() == Kind::Video && n + 1 == count,
                payload_type: self.payload_type,
                sequence_number: *sequence,
                timestamp: offset.wrapping_add(ticks),
                ssrc: self.ssrc,
                ..Header::default()
            };
            *sequence = sequence.wrapping_add(1);
            self.track.write_rtp(Packet { header, payload }).await.ok()?;
        }
        Some(())
    }
}
