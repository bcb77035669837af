//! The kinds of media that travel, as WebRTC and files name them.
//!
//! Which of them may travel is not decided here: [`Format::codec`] asks the frame layer, and a format that it cannot
//! protect is neither offered nor sent nor taken.

use conclave_shared::frame::clear_bytes::Codec;
use serde::Serialize;

/// What a stream of frames is encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// VP8 video.
    Vp8,
    /// VP9 video.
    Vp9,
    /// AV1 video.
    Av1,
    /// H.264 video.
    H264,
    /// Opus audio.
    Opus,
}

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl Kind {
    /// The word for it in session descriptions and file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

impl Format {
    /// All of them; of the video formats, what is preferred comes first.
    pub const ALL: [Self; 5] = [Self::Opus, Self::Vp8, Self::Vp9, Self::Av1, Self::H264];

    /// The MIME type of WebRTC.
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

    /// The format of a MIME type, in any case.
    #[must_use]
    pub fn from_mime(mime: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.mime().eq_ignore_ascii_case(mime))
    }

    /// Sound or picture.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::H264 => Kind::Video,
            Self::Opus => Kind::Audio,
        }
    }

    /// How its frames are protected; `None` when the frame layer has no rule for it.
    #[must_use]
    pub fn codec(self) -> Option<Codec> {
        Codec::from_mime(self.mime()).ok()
    }

    /// Ticks of its RTP clock in a second.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::H264 => 90_000,
            Self::Opus => 48_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_mime_type_and_what_is_protected_has_a_rule() {
        for format in Format::ALL {
            assert_eq!(Format::from_mime(&format.mime().to_uppercase()), Some(format));
        }
        assert_eq!(Format::from_mime("video/rtx"), None);
        assert!(Format::Vp8.codec().is_some() && Format::Opus.codec().is_some());
    }
}
