//! Reads along as frames come in, and stops a message that is too large or in too many pieces at its header, before
//! any of it is buffered. A WebSocket library bounds sizes, but neither pieces nor by who is speaking.

use conclave_shared::limits::{COMMIT_LENGTH, MESSAGE_LENGTH};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Pieces that a message may come in: browsers send one, proxies may split it.
pub(crate) const FRAGMENTS: u32 = 16;
/// The longest frame header of a client: 2 bytes, 8 of length, 4 of mask (RFC 6455 section 5.2).
const HEADER: usize = 14;

/// What a frame header broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The message is over the limit of its sender.
    TooLarge,
    /// The message comes in more than [`FRAGMENTS`] pieces.
    TooManyFragments,
}

/// What guard and reader of one connection share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The connection leads or led a call: its commits may be larger.
    pub(crate) leads: Arc<AtomicBool>,
    violation: Arc<OnceLock<Violation>>,
}

impl Watch {
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }

    /// Bytes that a message may have.
    pub(crate) fn limit(&self) -> usize {
        if self.leads.load(Ordering::Relaxed) { COMMIT_LENGTH } else { MESSAGE_LENGTH }
    }
}

/// A byte stream whose frames are watched.
#[derive(Debug)]
pub(crate) struct Guarded<Io> {
    io: Io,
    frames: Frames,
    watch: Watch,
}

impl<Io> Guarded<Io> {
    pub(crate) fn new(io: Io, watch: Watch) -> Self {
        Self { io, frames: Frames::default(), watch }
    }

    pub(crate) fn into_inner(self) -> Io {
        self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        match this.frames.read(read, this.watch.limit()) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(violation) => {
                // The first violation stands.
                let _later = this.watch.violation.set(violation);
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where in the stream of frames we are.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the current frame's payload still to come.
    payload: u64,
    /// Bytes and pieces of the current message.
    message: u64,
    fragments: u32,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], limit: usize) -> Result<(), Violation> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skip = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.header.get_mut(self.have) {
                *slot = *first;
                self.have += 1;
            }
            bytes = rest;
            if self.have == self.header_length() {
                self.frame(limit)?;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// As far as the bytes so far tell.
    fn header_length(&self) -> usize {
        let [_, second, ..] = self.header;
        if self.have < 2 {
            return 2;
        }
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    /// A whole header is here.
    fn frame(&mut self, limit: usize) -> Result<(), Violation> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        self.payload = match second & 0x7f {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => short.into(),
        };
        let opcode = first & 0x0f;
        if opcode >= 8 {
            return Ok(());
        }
        if opcode != 0 {
            (self.message, self.fragments) = (0, 0);
        }
        self.message = self.message.saturating_add(self.payload);
        self.fragments += 1;
        if self.message > limit as u64 {
            return Err(Violation::TooLarge);
        }
        if self.fragments > FRAGMENTS { Err(Violation::TooManyFragments) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            0..126 => bytes.push(0x80 | u8::try_from(payload).expect("short")),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(payload).expect("medium").to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend([9; 4]);
        bytes.extend(std::iter::repeat_n(7, payload));
        bytes
    }

    /// Whatever the network cuts it into.
    fn read(bytes: &[u8], limit: usize) -> Result<(), Violation> {
        let whole = Frames::default().read(bytes, limit);
        for piece in [1, 2, 3, 7, 100] {
            let mut frames = Frames::default();
            assert_eq!(bytes.chunks(piece).try_for_each(|chunk| frames.read(chunk, limit)), whole, "{piece}");
        }
        whole
    }

    #[test]
    fn sizes_add_up_over_the_pieces_of_one_message() {
        for payload in [0, 1, 125, 126, 200, 65_535, 65_536] {
            assert_eq!(read(&frame(0x81, payload), payload), Ok(()), "{payload}");
            if payload > 0 {
                assert_eq!(read(&frame(0x81, payload), payload - 1), Err(Violation::TooLarge), "{payload}");
            }
        }
        let two = [frame(0x01, 60), frame(0x89, 5), frame(0x80, 60)].concat();
        assert_eq!(read(&two, 120), Ok(()));
        assert_eq!(read(&two, 119), Err(Violation::TooLarge));
        assert_eq!(read(&[frame(0x81, 60), frame(0x81, 60)].concat(), 60), Ok(()));
    }

    #[test]
    fn the_header_alone_is_enough() {
        let mut header = frame(0x81, 70_000);
        header.truncate(10);
        assert_eq!(read(&header, 65_536), Ok(()), "the mask is still to come");
        header.extend([0; 4]);
        assert_eq!(read(&header, 65_536), Err(Violation::TooLarge));
        let endless = [&[0x81, 0xff][..], &[0xff; 8], &[0; 4]].concat();
        assert_eq!(read(&endless, 65_536), Err(Violation::TooLarge));
    }

    #[test]
    fn a_message_comes_in_sixteen_pieces_at_most() {
        let pieces = |count: usize| {
            let mut bytes = frame(0x01, 1);
            (2..count).for_each(|_| bytes.extend(frame(0x00, 1)));
            bytes.extend(frame(0x80, 1));
            bytes
        };
        assert_eq!(read(&pieces(16), 100), Ok(()));
        assert_eq!(read(&[pieces(16), pieces(16)].concat(), 100), Ok(()));
        assert_eq!(read(&pieces(17), 100), Err(Violation::TooManyFragments));
    }
}
