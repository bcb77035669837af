//! A file that is published: its frames in memory, with their times and where decoding can begin.

use bytes::Bytes;
use std::{fs, io, path::Path, time::Duration};
use thiserror::Error;

use super::{
    bitstream::{self, DELIMITER, FILLER, IDR, SLICE, START_CODE, nal_type},
    format::Format,
    ivf::{self, IvfError},
    ogg::{self, OggError},
};

/// The largest file that is published: it is held in memory.
const LARGEST: u64 = 256 * 1024 * 1024;
/// A stream of H.264 has no times in it: it is played at this rate.
const H264_FRAME: Duration = Duration::from_nanos(33_333_333);
/// The shortest and longest time that a frame is shown, whatever the file says.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Why a file cannot be published.
#[derive(Debug, Error)]
pub enum ClipError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is too large.
    #[error("the file is larger than 256 MiB")]
    TooLarge,
    /// It is of none of the kinds that can be published.
    #[error("give an IVF file (VP8, VP9, AV1), an Ogg file (Opus) or H.264 in Annex B")]
    Unknown,
    /// A damaged IVF file.
    #[error(transparent)]
    Ivf(#[from] IvfError),
    /// A damaged Ogg file.
    #[error(transparent)]
    Ogg(#[from] OggError),
    /// Frames of this format cannot be protected, so they are not sent.
    #[error("frames of {} cannot be protected", .0.mime())]
    Unprotected(Format),
    /// Nothing to play, or nothing to begin with.
    #[error("the file has no key frame")]
    NoKeyFrame,
}

/// A file in memory.
#[derive(Debug)]
pub struct Clip {
    format: Format,
    frames: Vec<ClipFrame>,
}

/// One frame of a clip.
#[derive(Debug)]
pub(super) struct ClipFrame {
    pub(super) data: Bytes,
    /// Decoding can begin here.
    pub(super) key: bool,
    /// How long it is shown.
    pub(super) length: Duration,
}

impl Clip {
    /// Reads a file; what it is, its first bytes tell.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn read(path: &Path) -> Result<Self, ClipError> {
        if fs::metadata(path)?.len() > LARGEST {
            return Err(ClipError::TooLarge);
        }
        Self::parse(&fs::read(path)?)
    }

    /// The same with bytes.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ClipError> {
        let (format, frames) = if bytes.starts_with(b"DKIF") {
            from_ivf(bytes)?
        } else if bytes.starts_with(b"OggS") {
            (Format::Opus, from_ogg(bytes)?)
        } else if bytes.starts_with(&START_CODE) || bytes.starts_with(&[0, 0, 1]) {
            (Format::H264, from_h264(bytes))
        } else {
            return Err(ClipError::Unknown);
        };
        if format.codec().is_none() {
            return Err(ClipError::Unprotected(format));
        }
        if !frames.iter().any(|frame| frame.key) {
            return Err(ClipError::NoKeyFrame);
        }
        Ok(Self { format, frames })
    }

    /// What it is encoded in.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How many frames it has.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The plain frames, in order.
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(|frame| &frame.data[..])
    }

    /// The frame at a position, which goes round and round.
    pub(super) fn frame(&self, position: usize) -> Option<&ClipFrame> {
        self.frames.get(position % self.frames.len().max(1))
    }

    /// The next position from this one on where decoding can begin.
    pub(super) fn next_key(&self, position: usize) -> usize {
        let positions = position..position.saturating_add(self.frames.len());
        positions.into_iter().find(|at| self.frame(*at).is_some_and(|frame| frame.key)).unwrap_or(position)
    }
}

fn from_ivf(bytes: &[u8]) -> Result<(Format, Vec<ClipFrame>), ClipError> {
    let ivf = ivf::read(bytes)?;
    let mut frames = Vec::with_capacity(ivf.frames.len());
    let mut length = H264_FRAME;
    for (n, (time, data)) in ivf.frames.iter().enumerate() {
        // The last frame is shown as long as the one before.
        if let Some((next, _)) = ivf.frames.get(n + 1) {
            length = next.saturating_sub(*time).clamp(SHORTEST, LONGEST);
        }
        let key = bitstream::shape(ivf.format, data).key;
        frames.push(ClipFrame { data: Bytes::copy_from_slice(data), key, length });
    }
    Ok((ivf.format, frames))
}

fn from_ogg(bytes: &[u8]) -> Result<Vec<ClipFrame>, ClipError> {
    let packets = ogg::read(bytes)?.into_iter();
    let frames = packets.filter_map(|packet| {
        let length = Duration::from_secs(1) * ogg::samples(&packet)? / Format::Opus.clock_rate();
        Some(ClipFrame { data: Bytes::from(packet), key: true, length })
    });
    Ok(frames.collect())
}

/// Parts a stream into pictures. What RTP leaves out is left out before sealing, or nothing would open.
fn from_h264(bytes: &[u8]) -> Vec<ClipFrame> {
    let mut frames = Vec::new();
    let mut picture = Vec::new();
    let mut shown = false;
    let mut finish = |picture: &mut Vec<u8>| {
        let data = Bytes::from(std::mem::take(picture));
        let key = bitstream::shape(Format::H264, &data).key;
        frames.push(ClipFrame { data, key, length: H264_FRAME });
    };
    for nal in bitstream::nal_units(bytes) {
        let Some(kind) = nal_type(nal) else { continue };
        let slice = matches!(kind, SLICE..=IDR);
        // The first bit of a slice says that it begins at the first macroblock: another picture.
        let begins = !slice || nal.get(1).is_some_and(|byte| byte & 0x80 != 0);
        if shown && begins {
            finish(&mut picture);
            shown = false;
        }
        if kind != DELIMITER && kind != FILLER {
            picture.extend(START_CODE);
            picture.extend_from_slice(nal);
        }
        shown |= slice;
    }
    if shown {
        finish(&mut picture);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_is_parted_into_pictures_of_one_spelling() {
        let stream = [
            &[0, 0, 0, 1, 9, 0x10][..],                                 // a delimiter
            &[0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65, 0x88], // a key frame
            &[0, 0, 1, 0x65, 0x08],                                     // its second slice
            &[0, 0, 0, 1, 9, 0x30, 0, 0, 1, 0x41, 0x9a],                // the next picture
            &[0, 0, 1, 0x41, 0x9b],                                     // and another
        ];
        let frames = from_h264(&stream.concat());
        assert_eq!(frames.iter().map(|frame| frame.key).collect::<Vec<_>>(), [true, false, false]);
        let first = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 0x88, 0, 0, 0, 1, 0x65, 0x08];
        assert_eq!(&frames[0].data[..], &first[..]);
        assert_eq!(&frames[2].data[..], [0, 0, 0, 1, 0x41, 0x9b]);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(Clip::parse(b"RIFF"), Err(ClipError::Unknown)));
        assert!(matches!(Clip::parse(b"DKIF"), Err(ClipError::Ivf(IvfError::Header))));
        assert!(matches!(Clip::parse(b"OggS"), Err(ClipError::Ogg(OggError::Page))));
        assert!(matches!(Clip::read(Path::new("/nowhere")), Err(ClipError::Read(_))));
    }
}
