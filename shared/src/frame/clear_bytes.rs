//! The one place of per-codec rules: which bytes at the beginning of a frame stay readable.
//!
//! A packetizer, and an SFU that picks simulcast layers, read the first bytes of a VP8 frame: whether it is a key frame,
//! and its size. Those bytes are not encrypted but authenticated: changing one makes the frame fail to open.
//!
//! | codec | clear | why |
//! |---|---|---|
//! | VP8 key frame | 10 bytes | frame tag (3), start code (3), width and height (4): RFC 6386 section 9.1 |
//! | VP8 delta frame | 3 bytes | frame tag; its lowest bit says that it is one |
//! | Opus | none | nothing on the way reads an Opus frame |

use thiserror::Error;

/// A codec whose frames can be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// VP8 video.
    Vp8,
    /// Opus audio.
    Opus,
}

/// A codec that has no rule here: its frames are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("frames of this codec cannot be protected; VP8 and Opus can")]
pub struct UnknownCodec;

impl Codec {
    /// The codec of a MIME type as WebRTC names it: `video/VP8`, `audio/opus`, in any case.
    ///
    /// # Errors
    /// [`UnknownCodec`] for every other one.
    pub fn from_mime(mime: &str) -> Result<Self, UnknownCodec> {
        if mime.eq_ignore_ascii_case("video/vp8") {
            Ok(Self::Vp8)
        } else if mime.eq_ignore_ascii_case("audio/opus") {
            Ok(Self::Opus)
        } else {
            Err(UnknownCodec)
        }
    }

    /// Splits a frame, plain or sealed, into what stays clear and the rest. Both kinds begin with the same clear bytes,
    /// so one rule serves both directions.
    ///
    /// # Errors
    /// [`FrameError`] for a frame that is empty or ends within its clear bytes.
    pub fn split(self, frame: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
        let first = *frame.first().ok_or(FrameError::Empty)?;
        let clear = match self {
            Self::Vp8 if first & VP8_DELTA == 0 => VP8_KEY_CLEAR,
            Self::Vp8 => VP8_DELTA_CLEAR,
            Self::Opus => 0,
        };
        frame.split_at_checked(clear).ok_or(FrameError::TooShort { needs: clear, got: frame.len() })
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
}

/// Set in the first byte of a VP8 frame that is not a key frame.
const VP8_DELTA: u8 = 1;
const VP8_KEY_CLEAR: usize = 10;
const VP8_DELTA_CLEAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_has_its_rule() {
        let frame = |first: u8| [&[first][..], &[9; 19]].concat();
        for (codec, first, clear) in
            [(Codec::Vp8, 0b1010, 10), (Codec::Vp8, 0b1011, 3), (Codec::Opus, 0, 0), (Codec::Opus, 1, 0)]
        {
            let frame = frame(first);
            let (start, rest) = codec.split(&frame).expect("long enough");
            assert_eq!((start, rest), frame.split_at(clear), "{codec:?} {first}");
        }
    }

    #[test]
    fn a_frame_within_its_own_header_is_refused() {
        assert_eq!(Codec::Opus.split(&[]), Err(FrameError::Empty));
        assert_eq!(Codec::Vp8.split(&[]), Err(FrameError::Empty));
        assert_eq!(Codec::Vp8.split(&[0; 9]), Err(FrameError::TooShort { needs: 10, got: 9 }));
        assert_eq!(Codec::Vp8.split(&[1; 2]), Err(FrameError::TooShort { needs: 3, got: 2 }));
        assert_eq!(Codec::Vp8.split(&[1; 3]), Ok((&[1; 3][..], &[][..])));
    }

    #[test]
    fn codecs_are_named_by_mime_type_and_others_refused() {
        assert_eq!(Codec::from_mime("video/VP8"), Ok(Codec::Vp8));
        assert_eq!(Codec::from_mime("AUDIO/Opus"), Ok(Codec::Opus));
        for other in ["", "vp8", "video/VP9", "video/H264", "video/AV1", "video/rtx", "audio/red", "video/vp8 "] {
            assert_eq!(Codec::from_mime(other), Err(UnknownCodec), "{other}");
        }
    }
}
