//! Recording: each stream into files that players open, IVF for VP8, VP9 and AV1, Ogg for Opus, Annex B for H.264.
//!
//! A file begins with a key frame and has no frame that its decoder lacks something for; when the size of the picture
//! changes, another file begins.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{
    bitstream,
    format::{Format, Kind},
    ivf::IvfWriter,
    ogg::{self, OggWriter},
    opening::{Frame, Stream},
};

/// Characters of a member's name that stand in a file name.
const NAME: usize = 32;
/// Files of one stream at most: a sender turns a phone or shares another window so often in a long call. Who changes the
/// size with every picture would fill the directory.
const PARTS: u32 = 64;
/// Names of earlier recordings that are passed by in search of a free one.
const TAKEN: u32 = 1000;
/// Recordings are plain what the call protects: nobody else on this machine reads them.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;
#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;
/// What an AV1 file has at the beginning of each picture, and RTP does not carry.
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];

/// Writes streams to a directory.
pub(super) struct Recorder {
    directory: PathBuf,
    files: BTreeMap<u64, Recording>,
    /// What went wrong first.
    error: Option<String>,
}

enum Recording {
    Running(Track),
    /// Of more parts than it may have. Lasts as long as the stream.
    GivenUp,
}

struct Track {
    out: Out,
    size: Option<(u16, u16)>,
    place: Place,
}

/// Where in its stream a file stands.
#[derive(Clone, Copy)]
struct Place {
    /// The stream's time at which it begins.
    began: u64,
    /// Which part its name says.
    part: u32,
    /// Files of the stream up to this one.
    made: u32,
}

enum Out {
    Ivf(IvfWriter<BufWriter<File>>),
    Ogg(OggWriter<BufWriter<File>>),
    Raw(BufWriter<File>),
}

impl Recorder {
    /// Makes the directory.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        make_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), files: BTreeMap::new(), error: None })
    }

    /// Writes a frame; `false` when it is not of use to a player, or cannot be written.
    pub(super) fn frame(&mut self, stream: &Stream, frame: Frame<'_>) -> bool {
        if !frame.decodable {
            return false;
        }
        match self.write(stream, frame) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(%error, "a recording cannot be written");
                self.error.get_or_insert(error.to_string());
                false
            }
        }
    }

    /// A stream is over.
    pub(super) fn end(&mut self, stream: &Stream) {
        if let Some(recording) = self.files.remove(&stream.id) {
            self.finished(recording);
        }
    }

    /// Finishes all files.
    pub(super) fn finish(mut self) -> Result<(), String> {
        for recording in std::mem::take(&mut self.files).into_values() {
            self.finished(recording);
        }
        self.error.map_or(Ok(()), Err)
    }

    fn finished(&mut self, recording: Recording) {
        if let Recording::Running(track) = recording
            && let Err(error) = track.finish()
        {
            self.error.get_or_insert(error.to_string());
        }
    }

    fn write(&mut self, stream: &Stream, frame: Frame<'_>) -> io::Result<bool> {
        let shape = bitstream::shape(stream.format, frame.data);
        let resized = |track: &Track| shape.size.is_some() && track.size != shape.size;
        let next = match self.files.get(&stream.id) {
            Some(Recording::GivenUp) => return Ok(false),
            Some(Recording::Running(track)) if resized(track) => Some((track.place.part + 1, track.place.made + 1)),
            Some(Recording::Running(_)) => None,
            None => Some((1, 1)),
        };
        if let Some((part, made)) = next {
            if !shape.key {
                return Ok(false);
            }
            self.end(stream);
            if made > PARTS {
                let member = stream.member;
                tracing::warn!(%member, id = stream.id, "a stream changes its size too often to be recorded further");
                self.files.insert(stream.id, Recording::GivenUp);
                return Ok(false);
            }
            let (file, part) = self.create(stream, part)?;
            let track = Track::begin(file, stream, shape.size, Place { began: frame.time, part, made })?;
            self.files.insert(stream.id, Recording::Running(track));
        }
        let Some(Recording::Running(track)) = self.files.get_mut(&stream.id) else { return Ok(false) };
        track.write(frame)?;
        Ok(true)
    }

    /// Makes the next file of a stream, never over another recording: that one counts as a part before.
    fn create(&self, stream: &Stream, part: u32) -> io::Result<(File, u32)> {
        for part in part..part.saturating_add(TAKEN) {
            match make_file(&self.directory.join(file_name(stream, part))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((made?, part)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Track {
    fn begin(file: File, stream: &Stream, size: Option<(u16, u16)>, place: Place) -> io::Result<Self> {
        let out = BufWriter::new(file);
        let out = match stream.format {
            Format::Opus => Out::Ogg(OggWriter::new(out, u32::try_from(stream.id).unwrap_or(u32::MAX))?),
            Format::H264 => Out::Raw(out),
            Format::Vp8 | Format::Vp9 | Format::Av1 => {
                Out::Ivf(IvfWriter::new(out, stream.format, size.unwrap_or_default())?)
            }
        };
        Ok(Self { out, size, place })
    }

    fn write(&mut self, frame: Frame<'_>) -> io::Result<()> {
        let time = frame.time.saturating_sub(self.place.began);
        match &mut self.out {
            Out::Ogg(ogg) => ogg.write(time, ogg::samples(frame.data).unwrap_or(960), frame.data),
            Out::Raw(file) => file.write_all(frame.data),
            Out::Ivf(ivf) if ivf.format() == Format::Av1 && !frame.data.starts_with(&TEMPORAL_DELIMITER) => {
                ivf.write(time, &[&TEMPORAL_DELIMITER, frame.data].concat())
            }
            Out::Ivf(ivf) => ivf.write(time, frame.data),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.out {
            Out::Ivf(ivf) => ivf.finish().map(drop),
            Out::Ogg(ogg) => ogg.finish().map(drop),
            Out::Raw(mut file) => file.flush(),
        }
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(DIRECTORY_MODE);
    }
    builder.create(directory)
}

fn make_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(FILE_MODE);
    }
    options.open(path)
}

/// `Anna-3-video-1.ivf`: who, their order number, what, which, and from the second file on the part.
fn file_name(stream: &Stream, part: u32) -> String {
    let user: String =
        stream.user.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(NAME).collect();
    let extension = match stream.format {
        Format::Opus => "ogg",
        Format::H264 => "h264",
        Format::Vp8 | Format::Vp9 | Format::Av1 => "ivf",
    };
    let kind: Kind = stream.format.kind();
    let part = if part == 1 { String::new() } else { format!("-part{part}") };
    format!("{user}-{}-{}-{}{part}.{extension}", stream.member, kind.as_str(), stream.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_shared::id::{Joined, Seat};

    fn stream(format: Format) -> Stream {
        let user = "../../Zoë\u{1f388} Q".to_owned();
        Stream { id: 1, member: Joined(3), user, seat: Seat(0), format, number: 1 }
    }

    fn key(width: u8) -> Vec<u8> {
        vec![0x10, 2, 0, 0x9d, 1, 0x2a, width, 0, 8, 0, 0]
    }

    #[test]
    fn names_hold_nothing_that_a_path_could_be_made_of() {
        assert_eq!(file_name(&stream(Format::Vp8), 1), "______Zo___Q-3-video-1.ivf");
        assert_eq!(file_name(&stream(Format::Opus), 2), "______Zo___Q-3-audio-1-part2.ogg");
        let long = Stream { user: "x".repeat(64), ..stream(Format::H264) };
        assert_eq!(file_name(&long, 1), format!("{}-3-video-1.h264", "x".repeat(NAME)));
    }

    #[test]
    fn files_begin_with_a_key_frame_and_another_size_begins_another_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut recorder = Recorder::new(directory.path()).expect("made");
        let stream = stream(Format::Vp8);
        let mut write = |time, data: &[u8], decodable| {
            recorder.frame(&stream, Frame { time, key: data[0] & 1 == 0, decodable, data })
        };
        assert!(!write(0, &[1, 0, 0], true), "not before a key frame");
        assert!(write(3000, &key(16), true));
        assert!(write(6000, &[1, 0, 0], true));
        assert!(!write(9000, &[1, 0, 0], false), "refers to a frame that is missing");
        assert!(write(12_000, &key(32), true));
        recorder.finish().expect("written");
        let read = |part| fs::read(directory.path().join(file_name(&stream, part))).expect("a file");
        let count = |bytes: &[u8]| super::super::ivf::read(bytes).expect("an IVF file").frames.len();
        assert_eq!((count(&read(1)), count(&read(2))), (2, 1));
    }

    #[test]
    fn nothing_is_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let stream = stream(Format::Vp8);
        let frame = Frame { time: 0, key: true, decodable: true, data: &key(16) };
        fs::write(directory.path().join(file_name(&stream, 1)), "precious").expect("written");
        let mut recorder = Recorder::new(directory.path()).expect("made");
        assert!(recorder.frame(&stream, frame));
        recorder.finish().expect("written");
        let first = fs::read_to_string(directory.path().join(file_name(&stream, 1)));
        assert_eq!(first.expect("still there"), "precious");
        assert!(directory.path().join(file_name(&stream, 2)).exists());
    }
    #[test]
    fn a_stream_that_changes_its_size_with_every_picture_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut recorder = Recorder::new(directory.path()).expect("made");
        let stream = stream(Format::Vp8);
        let written = (0..u64::from(PARTS) * 3).map(|time| {
            let data = key(if time % 2 == 0 { 16 } else { 32 });
            recorder.frame(&stream, Frame { time, key: true, decodable: true, data: &data })
        });
        let written: Vec<bool> = written.collect();
        let (kept, given_up) = written.split_at(usize::try_from(PARTS).expect("few"));
        assert!(kept.iter().all(|written| *written) && !given_up.iter().any(|written| *written));
        let files = || fs::read_dir(directory.path()).expect("read").count();
        assert_eq!(files(), kept.len());
        let frame = Frame { time: 0, key: true, decodable: true, data: &key(16) };
        assert!(recorder.frame(&Stream { id: 2, number: 2, ..stream }, frame), "another stream is recorded");
        recorder.finish().expect("written");
        assert_eq!(files(), kept.len() + 1);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_recordings() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let made = directory.path().join("of/this/call");
        let mut recorder = Recorder::new(&made).expect("made");
        let stream = stream(Format::Vp8);
        assert!(recorder.frame(&stream, Frame { time: 0, key: true, decodable: true, data: &key(16) }));
        recorder.finish().expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(&made.join(file_name(&stream, 1)))), (0o700, 0o600));
    }
}
