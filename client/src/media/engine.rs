//! One peer connection of the WebRTC library, set up as a call wants it.

use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket},
    rtcp::{
        Packet as RtcpPacket,
        payload_feedbacks::{full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication},
    },
    rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind},
    sansio::Protocol,
    shared::error::Error as RtcError,
};
use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Instant};
use webrtc::{
    error::Error,
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCBundlePolicy,
        RTCConfigurationBuilder, RTCIceServer, Registry, SettingEngineBuilder, register_default_interceptors,
    },
    runtime::TokioRuntime,
};

use super::{
    format::{Format, Kind},
    lossy::{self, Lossy},
};
use conclave_shared::{crypto::random, wire::IceServer};

/// What every connection of a call is made with.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The own addresses that are used and told to others.
    pub(super) addresses: Vec<IpAddr>,
    /// STUN and TURN servers.
    pub(super) ice_servers: Vec<IceServer>,
    /// Of a hundred packets that come in, so many are dropped: for tests.
    pub(super) loss: u8,
}

/// Makes a connection. Nothing is on it yet.
pub(super) async fn connection(
    place: &Place,
    handler: Arc<dyn PeerConnectionEventHandler>,
) -> Result<Arc<dyn PeerConnection>, Error> {
    let mut engine = MediaEngine::default();
    for (kind, codec) in codecs() {
        engine.register_codec(codec, kind)?;
    }
    let registry = register_default_interceptors(Registry::new(), &mut engine)?;
    let registry = registry.with(Slot::from(KEY_FRAME_REQUESTS), KeyFrameRequests::default());
    let registry = if place.loss == 0 {
        registry
    } else {
        let seed = random::bytes().map_err(|error| Error::Other(error.to_string()))?;
        registry.with(Slot::from(lossy::SLOT), Lossy::new(place.loss, u64::from_be_bytes(seed)))
    };
    let servers = place.ice_servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    });
    let configuration = RTCConfigurationBuilder::new()
        .with_ice_servers(servers.collect())
        .with_bundle_policy(RTCBundlePolicy::MaxBundle)
        .build();
    let loopback = place.addresses.iter().any(IpAddr::is_loopback);
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(loopback)
        // Names that only this machine's network knows help nobody, and joining their group fails without a network.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build();
    let addresses = place.addresses.iter().map(|address| (*address, 0_u16).into());
    let connection = PeerConnectionBuilder::<std::net::SocketAddr>::new()
        .with_configuration(configuration)
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(handler)
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(addresses.collect())
        .build()
        .await?;
    Ok(Arc::new(connection))
}

/// The kind as the library names it.
pub(super) const fn library_kind(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}

/// A format as the library describes it.
pub(super) fn codec(format: Format) -> RTCRtpCodec {
    let (channels, parameters) = match format {
        Format::Opus => (2, "minptime=10;useinbandfec=1"),
        Format::Vp8 | Format::Av1 => (0, ""),
        Format::Vp9 => (0, "profile-id=0"),
        Format::H264 => (0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    };
    let feedback = |(kind, parameter): (&str, &str)| RTCPFeedback { typ: kind.into(), parameter: parameter.into() };
    let feedbacks: &[_] = match format.kind() {
        Kind::Audio => &[],
        Kind::Video => &[("ccm", "fir"), ("nack", ""), ("nack", "pli")],
    };
    RTCRtpCodec {
        mime_type: format.mime().to_owned(),
        clock_rate: format.clock_rate(),
        channels,
        sdp_fmtp_line: parameters.to_owned(),
        rtcp_feedback: feedbacks.iter().copied().map(feedback).collect(),
    }
}

/// All that is offered: formats that can be protected, and retransmissions of them.
fn codecs() -> Vec<(RtpCodecKind, RTCRtpCodecParameters)> {
    let mut all = Vec::new();
    for (format, payload_type) in Format::ALL.into_iter().zip([111, 96, 98, 100, 102]) {
        if format.codec().is_none() {
            continue;
        }
        let kind = library_kind(format.kind());
        all.push((kind, RTCRtpCodecParameters { rtp_codec: codec(format), payload_type }));
        if format.kind() == Kind::Video {
            let rtp_codec = RTCRtpCodec {
                mime_type: "video/rtx".to_owned(),
                clock_rate: format.clock_rate(),
                channels: 0,
                sdp_fmtp_line: format!("apt={payload_type}"),
                rtcp_feedback: Vec::new(),
            };
            all.push((kind, RTCRtpCodecParameters { rtp_codec, payload_type: payload_type + 1 }));
        }
    }
    all
}

/// All formats of a kind, this one first.
pub(super) fn preferences(format: Format) -> Vec<RTCRtpCodecParameters> {
    let kind = library_kind(format.kind());
    let mut codecs: Vec<_> = codecs().into_iter().filter(|(of, _)| *of == kind).map(|(_, codec)| codec).collect();
    let own = codecs.iter().position(|codec| codec.rtp_codec.mime_type == format.mime()).unwrap_or_default();
    // Each format stands before its retransmissions.
    codecs.rotate_left(own);
    codecs
}

/// After everything else in the chain that reads RTCP.
const KEY_FRAME_REQUESTS: usize = 14_000;

/// Passes requests for key frames on: only who makes the frames can answer them. All other RTCP ends with the library.
#[derive(Default)]
struct KeyFrameRequests {
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

fn is_request(packet: &dyn RtcpPacket) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyFrameRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), RtcError> {
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            packets.retain(|packet| is_request(packet.as_ref()));
            if packets.is_empty() {
                return Ok(());
            }
            message.message.add(Attribute::DeliverToApplication);
        }
        self.incoming.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for KeyFrameRequests {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
