//! A bad network, for tests: drops some of the packets that come in, before anything looks at them.

use rtc::{
    interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket},
    sansio::Protocol,
    shared::error::Error,
};
use std::{collections::VecDeque, time::Instant};

/// Before everything else that reads packets, and after everything that writes them.
pub(super) const SLOT: usize = 1;

/// Drops packets of media, retransmissions of them too.
pub(super) struct Lossy {
    percent: u8,
    /// The state of a generator by Marsaglia (xorshift64): where packets go missing need not be secret.
    dice: u64,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl Lossy {
    pub(super) const fn new(percent: u8, seed: u64) -> Self {
        Self { percent, dice: seed | 1, incoming: VecDeque::new(), outgoing: VecDeque::new() }
    }

    const fn drops(&mut self) -> bool {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % 100 < self.percent as u64
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Lossy {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if !matches!(message.message.packet, Packet::Rtp(_)) || !self.drops() {
            self.incoming.push_back(message);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Lossy {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
