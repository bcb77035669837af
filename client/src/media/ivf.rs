//! IVF: the plain container of one VP8, VP9 or AV1 stream.
//!
//! ```text
//! header, 32 bytes: "DKIF" ‖ version (u16) 0 ‖ length (u16) 32 ‖ four characters ‖ width (u16) ‖ height (u16)
//!                   ‖ ticks a second (u32) ‖ ticks of one unit (u32) ‖ frames (u32) ‖ 0 (u32)      all little-endian
//! frame:            length (u32) ‖ time in units (u64) ‖ bytes
//! ```

use std::{
    io::{self, Seek, SeekFrom, Write},
    time::Duration,
};
use thiserror::Error;

use super::{cursor::Cursor, format::Format};

/// Why bytes are no IVF file that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IvfError {
    /// It does not begin as one.
    #[error("this is no IVF file")]
    Header,
    /// Of a codec that is not spoken here.
    #[error("the IVF file holds something other than VP8, VP9 or AV1")]
    Codec,
    /// It ends within a frame.
    #[error("the IVF file is cut short")]
    Truncated,
}

/// What an IVF file holds.
#[derive(Debug)]
pub(super) struct Ivf<'a> {
    pub(super) format: Format,
    /// Each frame and when it is shown.
    pub(super) frames: Vec<(Duration, &'a [u8])>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Ivf<'_>, IvfError> {
    let mut cursor = Cursor(bytes);
    let (format, second, unit) = header(&mut cursor).ok_or(IvfError::Header)?;
    let format = FOURCCS.into_iter().find(|(fourcc, _)| *fourcc == format).ok_or(IvfError::Codec)?.1;
    let mut frames = Vec::new();
    while !cursor.0.is_empty() {
        let (time, frame) = frame(&mut cursor).ok_or(IvfError::Truncated)?;
        let nanos = u128::from(time) * u128::from(unit) * 1_000_000_000 / u128::from(second);
        frames.push((Duration::from_nanos(u64::try_from(nanos).map_err(|_| IvfError::Header)?), frame));
    }
    Ok(Ivf { format, frames })
}

/// Four characters, ticks a second, ticks of one unit.
fn header(cursor: &mut Cursor<'_>) -> Option<([u8; 4], u32, u32)> {
    let magic: [u8; 4] = cursor.array()?;
    let _version: [u8; 2] = cursor.array()?;
    let length = u16::from_le_bytes(cursor.array()?);
    let format = cursor.array()?;
    let _size: [u8; 4] = cursor.array()?;
    let second = u32::from_le_bytes(cursor.array()?);
    let unit = u32::from_le_bytes(cursor.array()?);
    let _frames: [u8; 8] = cursor.array()?;
    let whole = magic == *MAGIC && length == HEADER && second > 0 && unit > 0;
    whole.then_some((format, second, unit))
}

fn frame<'a>(cursor: &mut Cursor<'a>) -> Option<(u64, &'a [u8])> {
    let length = usize::try_from(u32::from_le_bytes(cursor.array()?)).ok()?;
    let time = u64::from_le_bytes(cursor.array()?);
    Some((time, cursor.take(length)?))
}

/// Writes a file, whose times are in ticks of 1/90,000 s, as RTP counts them.
pub(super) struct IvfWriter<W> {
    out: W,
    format: Format,
    frames: u32,
}

impl<W: Write + Seek> IvfWriter<W> {
    /// Begins a file for frames of a format and size.
    pub(super) fn new(mut out: W, format: Format, (width, height): (u16, u16)) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "IVF holds VP8, VP9 or AV1");
        let fourcc = FOURCCS.into_iter().find(|(_, known)| *known == format).ok_or_else(unknown)?.0;
        out.write_all(MAGIC)?;
        out.write_all(&0_u16.to_le_bytes())?;
        out.write_all(&HEADER.to_le_bytes())?;
        out.write_all(&fourcc)?;
        out.write_all(&width.to_le_bytes())?;
        out.write_all(&height.to_le_bytes())?;
        out.write_all(&Format::Vp8.clock_rate().to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        out.write_all(&[0; 8])?;
        Ok(Self { out, format, frames: 0 })
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Appends a frame.
    pub(super) fn write(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&time.to_le_bytes())?;
        self.out.write_all(frame)?;
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// Writes how many frames there are into the header, and everything to the file.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.seek(SeekFrom::Start(FRAMES_AT))?;
        self.out.write_all(&self.frames.to_le_bytes())?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }
}

const MAGIC: &[u8; 4] = b"DKIF";
const HEADER: u16 = 32;
/// Where the number of frames stands in the header.
const FRAMES_AT: u64 = 24;
const FOURCCS: [([u8; 4], Format); 3] = [(*b"VP80", Format::Vp8), (*b"VP90", Format::Vp9), (*b"AV01", Format::Av1)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor as File;

    #[test]
    fn what_is_written_is_read_again_and_the_header_counts_the_frames() {
        let mut writer = IvfWriter::new(File::new(Vec::new()), Format::Vp9, (320, 180)).expect("a file");
        writer.write(0, b"one").expect("written");
        writer.write(3000, b"two").expect("written");
        let bytes = writer.finish().expect("finished").into_inner();
        assert_eq!(bytes.get(24..28), Some(&[2, 0, 0, 0][..]));
        let ivf = read(&bytes).expect("a file");
        assert_eq!(ivf.format, Format::Vp9);
        let third = Duration::from_nanos(33_333_333);
        assert_eq!(ivf.frames, [(Duration::ZERO, &b"one"[..]), (third, &b"two"[..])]);
    }

    #[test]
    fn other_files_are_refused() {
        let writer = IvfWriter::new(File::new(Vec::new()), Format::Vp8, (2, 2)).expect("a file");
        let bytes = writer.finish().expect("finished").into_inner();
        assert!(read(&bytes).expect("empty, and a file").frames.is_empty());
        assert_eq!(read(bytes.get(..31).expect("31 bytes")).expect_err("short"), IvfError::Header);
        assert_eq!(read(&[&bytes[..], &[9, 0, 0, 0]].concat()).expect_err("cut"), IvfError::Truncated);
        let mut other = bytes;
        other.get_mut(8..12).expect("32 bytes").copy_from_slice(b"H264");
        assert_eq!(read(&other).expect_err("another codec"), IvfError::Codec);
    }
}
