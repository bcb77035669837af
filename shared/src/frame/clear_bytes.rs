//! The one place of per-codec rules: what of a frame stays readable, and what shape a sealed frame takes.
//!
//! Packetizers, depacketizers and SFUs read the beginning of a frame, and each codec has its own. Those bytes are not
//! encrypted but authenticated: changing one makes the frame fail to open. A codec that has no rule is refused.
//!
//! | codec | clear | why |
//! |---|---|---|
//! | VP8 key frame | 10 bytes | frame tag (3), start code (3), width and height (4): RFC 6386 section 9.1 |
//! | VP8 delta frame | 3 bytes | frame tag; its lowest bit says that it is one |
//! | VP9, Opus | none | what the way needs stands beside the frame, in the RTP payload descriptor |
//! | AV1 | one byte before the frame | the way reads OBUs: the sealed frame becomes the content of one, see [`av1`] |
//! | H.264 | up to the beginning of the first slice | the way reads NAL units: the rest is disguised as one, see [`h264`] |
//!
//! [`Codec::cut`] takes a plain frame apart, the sealer puts clear bytes and SFrame ciphertext together, and
//! [`Codec::wrap`] gives the whole its shape; [`Codec::unwrap`] undoes both. They hold for any bytes: what they are given
//! comes from the network.

pub mod av1;
pub mod h264;

use std::borrow::Cow;
use thiserror::Error;

/// A codec whose frames can be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// VP8 video.
    Vp8,
    /// VP9 video.
    Vp9,
    /// AV1 video, a temporal unit of OBUs as RTP carries them.
    Av1,
    /// H.264 video, an access unit in the byte stream format (Annex B).
    H264,
    /// Opus audio.
    Opus,
}

/// A codec that has no rule here: its frames are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("frames of this codec cannot be protected; VP8, VP9, AV1, H.264 and Opus can")]
pub struct UnknownCodec;

/// A plain frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut<'a> {
    /// Goes first, readable and authenticated.
    pub clear: Cow<'a, [u8]>,
    /// To be encrypted.
    pub secret: &'a [u8],
}

/// A sealed frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapped<'a> {
    /// What was authenticated beside the ciphertext.
    pub clear: Cow<'a, [u8]>,
    /// The SFrame ciphertext: header, encrypted bytes, tag.
    pub sframe: Cow<'a, [u8]>,
}

impl Codec {
    /// Every codec that has a rule.
    pub const ALL: [Self; 5] = [Self::Vp8, Self::Vp9, Self::Av1, Self::H264, Self::Opus];

    /// The MIME type, as WebRTC writes it.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Vp8 => "video/VP8",
            Self::Vp9 => "video/VP9",
            Self::Av1 => "video/AV1",
            Self::H264 => "video/H264",
            Self::Opus => "audio/opus",
        }
    }

    /// The codec of a MIME type, in any case.
    ///
    /// # Errors
    /// [`UnknownCodec`] for every one that has no rule.
    pub fn from_mime(mime: &str) -> Result<Self, UnknownCodec> {
        Self::ALL.into_iter().find(|codec| codec.mime().eq_ignore_ascii_case(mime)).ok_or(UnknownCodec)
    }

    /// Whether a *plain* frame can be decoded without the frames before it. Every frame of Opus counts as one that can.
    /// `false` for bytes that are no frame.
    #[must_use]
    pub fn is_key_frame(self, plain: &[u8]) -> bool {
        let Some(first) = plain.first() else { return false };
        match self {
            Self::Vp8 => first & VP8_DELTA == 0,
            Self::Vp9 => first & VP9_MARKER_MASK == VP9_MARKER && first & vp9_type(*first) == 0,
            Self::Av1 => av1::is_key_frame(plain),
            Self::H264 => h264::is_key_frame(plain),
            Self::Opus => true,
        }
    }

    /// Takes a plain frame apart.
    ///
    /// # Errors
    /// [`FrameError`] for bytes that are no frame of the codec.
    pub fn cut(self, plain: &[u8]) -> Result<Cut<'_>, FrameError> {
        if plain.is_empty() {
            return Err(FrameError::Empty);
        }
        match self {
            Self::Vp8 => {
                let (clear, secret) = vp8(plain)?;
                Ok(Cut { clear: clear.into(), secret })
            }
            Self::Vp9 | Self::Opus => Ok(Cut { clear: NOTHING.into(), secret: plain }),
            Self::Av1 => Ok(Cut { clear: av1::wrapper(plain).into(), secret: plain }),
            Self::H264 => {
                let (clear, secret) = h264::cut(plain)?;
                Ok(Cut { clear, secret })
            }
        }
    }

    /// Gives clear bytes and SFrame ciphertext, one behind the other, the shape in which the codec's packetizers take
    /// them. `clear` is the number of clear bytes.
    #[must_use]
    pub fn wrap(self, sealed: Vec<u8>, clear: usize) -> Vec<u8> {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::Opus => sealed,
            Self::H264 => h264::escape(sealed, clear),
        }
    }

    /// Takes a sealed frame apart, as the codec's depacketizers give it.
    ///
    /// # Errors
    /// [`FrameError`] for bytes that no frame of the codec can be sealed in.
    pub fn unwrap(self, sealed: &[u8]) -> Result<Unwrapped<'_>, FrameError> {
        if sealed.is_empty() {
            return Err(FrameError::Empty);
        }
        match self {
            Self::Vp8 => {
                let (clear, sframe) = vp8(sealed)?;
                Ok(Unwrapped { clear: clear.into(), sframe: sframe.into() })
            }
            Self::Vp9 | Self::Opus => Ok(Unwrapped { clear: NOTHING.into(), sframe: sealed.into() }),
            Self::Av1 => {
                let (clear, sframe) = av1::unwrap(sealed)?;
                Ok(Unwrapped { clear: clear.into(), sframe: sframe.into() })
            }
            Self::H264 => {
                let (clear, escaped) = h264::cut(sealed)?;
                let sframe = h264::unescape(sealed, sealed.len() - escaped.len())?;
                Ok(Unwrapped { clear, sframe })
            }
        }
    }

    /// Whether the clear bytes are the beginning of the plain frame, rather than put before it.
    pub(super) const fn keeps_clear_bytes(self) -> bool {
        match self {
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Opus => true,
            Self::Av1 => false,
        }
    }
}

/// Why bytes are no frame of a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No bytes at all. Some browsers deliver such frames; there is nothing in them to protect.
    #[error("the frame is empty")]
    Empty,
    /// The codec's own header is longer than the frame.
    #[error("the frame has {got} bytes where its codec's header has {needs}")]
    TooShort {
        /// Bytes of the header.
        needs: usize,
        /// Bytes of the frame.
        got: usize,
    },
    /// AV1: not one OBU of the kinds that frames are sealed in.
    #[error("the frame is not sealed in one OBU")]
    NotOneObu,
    /// H.264: does not begin with a start code.
    #[error("the frame is no byte stream of NAL units")]
    NoStartCode,
    /// H.264: a NAL unit of this type stands before the first slice, and may hold picture.
    #[error("a NAL unit of type {0} cannot stay readable")]
    NalUnit(u8),
    /// H.264: no slice, so nothing to protect, or its header is cut off.
    #[error("the frame has no slice")]
    NoSlice,
    /// H.264: the sealed part is not written as a sender writes it.
    #[error("the sealed part is not escaped as NAL units are")]
    NotEscaped,
}

/// Splits a VP8 frame, plain or sealed: both kinds begin with the same clear bytes.
fn vp8(frame: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
    let delta = frame.first().is_some_and(|first| first & VP8_DELTA != 0);
    let clear = if delta { VP8_DELTA_CLEAR } else { VP8_KEY_CLEAR };
    frame.split_at_checked(clear).ok_or(FrameError::TooShort { needs: clear, got: frame.len() })
}

/// The bits of the first byte of a VP9 frame that are all zero on a key frame (VP9 bitstream specification, section 6.2):
/// `show_existing_frame` and `frame_type`, which stand one bit further to the right in profile 3.
const fn vp9_type(first: u8) -> u8 {
    if first & VP9_PROFILE_3 == VP9_PROFILE_3 { 0b0000_0110 } else { 0b0000_1100 }
}

/// Set in the first byte of a VP8 frame that is not a key frame.
const VP8_DELTA: u8 = 1;
const VP8_KEY_CLEAR: usize = 10;
const VP8_DELTA_CLEAR: usize = 3;

/// The first two bits of every VP9 frame, and their value.
const VP9_MARKER_MASK: u8 = 0b1100_0000;
const VP9_MARKER: u8 = 0b1000_0000;
const VP9_PROFILE_3: u8 = 0b0011_0000;

const NOTHING: &[u8] = &[];

#[cfg(test)]
mod tests;
