//! All calls of the relay: one machine each, behind a lock of its own.

use conclave_shared::{
    id::CallName,
    time::Timestamp,
    wire::{Closing, ToClient, ToRelay, code::Code, encode},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    call::{Call, CallConfig, CallInput, CallOutput, ConnectionId, JoinRequest, RestoreRequest, ResumeRequest},
    connection::outbound::Outbound,
};

/// Characters of a call's name in the log.
const NAME_SHOWN: usize = 3;

/// The calls that go on, and the connections in them.
#[derive(Debug)]
pub(crate) struct Calls {
    config: CallConfig,
    most: usize,
    started: Instant,
    next: AtomicU64,
    calls: Mutex<BTreeMap<CallName, Arc<Room>>>,
}

/// One call. The lock is held while its machine runs and its outputs are queued, never across an await: queueing does
/// not wait, so one slow member delays nobody.
#[derive(Debug)]
struct Room {
    name: CallName,
    state: Mutex<RoomState>,
}

#[derive(Debug)]
struct RoomState {
    call: Call,
    sockets: BTreeMap<ConnectionId, Socket>,
    /// The machine was dropped: who still holds this room must look the call up again.
    over: bool,
    /// The relay is shutting down and the call was sent away: nothing happens in it any more.
    stopped: bool,
}

/// What a call needs of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Where to write.
    pub(crate) outbound: Outbound,
    /// To be set when the connection leads.
    pub(crate) leads: Arc<AtomicBool>,
}

/// A connection's place in a call. Dropping it says that the socket closed.
#[derive(Debug)]
pub(crate) struct Place {
    calls: Arc<Calls>,
    room: Arc<Room>,
    connection: ConnectionId,
}

impl Calls {
    pub(crate) fn new(config: CallConfig, most: usize) -> Self {
        let calls = Mutex::new(BTreeMap::new());
        Self { config, most, started: Instant::now(), next: AtomicU64::new(0), calls }
    }

    /// The relay's clock.
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.started.elapsed()
    }

    /// Brings a connection into the call that its token names. What comes of it, a seat or a refusal, is queued to it.
    ///
    /// # Errors
    /// [`Code::TooManyCalls`] when this would be one call more than the relay may have.
    pub(crate) fn join(self: &Arc<Self>, request: JoinRequest, socket: Socket) -> Result<Place, Code> {
        let name = request.admission.call.clone();
        self.enter(|| self.room(&name), socket, |connection| CallInput::Join(connection, Box::new(request)))
    }

    /// Brings a connection into a call that this relay may have lost. As for [`Self::join`].
    ///
    /// # Errors
    /// [`Code::TooManyCalls`] when this would be one call more than the relay may have.
    pub(crate) fn restore(self: &Arc<Self>, request: RestoreRequest, socket: Socket) -> Result<Place, Code> {
        let name = request.admission.call.clone();
        self.enter(|| self.room(&name), socket, |connection| CallInput::Restore(connection, Box::new(request)))
    }

    /// Brings a connection back to its seat. A call that has ended is not begun by it.
    ///
    /// # Errors
    /// [`Code::LostSeat`] when there is no such call.
    pub(crate) fn resume(self: &Arc<Self>, request: ResumeRequest, socket: Socket) -> Result<Place, Code> {
        let name = request.resume.call.clone();
        let room = || lock(&self.calls).get(&name).cloned().ok_or(Code::LostSeat);
        self.enter(room, socket, |connection| CallInput::Resume(connection, Box::new(request)))
    }

    /// Runs the first input of a connection in a room that is not over yet.
    fn enter(
        self: &Arc<Self>,
        room: impl Fn() -> Result<Arc<Room>, Code>,
        socket: Socket,
        input: impl FnOnce(ConnectionId) -> CallInput,
    ) -> Result<Place, Code> {
        let connection = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let input = input(connection);
        loop {
            let room = room()?;
            let mut state = lock(&room.state);
            if state.over {
                continue;
            }
            if state.stopped {
                return Err(Code::Closing);
            }
            tracing::debug!(call = %short(&room.name), connection = connection.0, "enters");
            state.sockets.insert(connection, socket);
            state.run(self.now(), input);
            self.end_if_over(&room, state);
            return Ok(Place { calls: Arc::clone(self), room, connection });
        }
    }

    fn room(&self, name: &CallName) -> Result<Arc<Room>, Code> {
        let mut calls = lock(&self.calls);
        if let Some(room) = calls.get(name) {
            return Ok(Arc::clone(room));
        }
        if calls.len() >= self.most {
            return Err(Code::TooManyCalls);
        }
        let call = Call::new(name.clone(), self.config.clone());
        let state = Mutex::new(RoomState { call, sockets: BTreeMap::new(), over: false, stopped: false });
        let room = Arc::new(Room { name: name.clone(), state });
        calls.insert(name.clone(), Arc::clone(&room));
        tracing::info!(call = %short(name), calls = calls.len(), "call begins");
        Ok(room)
    }

    /// Wakes the calls whose time has come. A call that everybody dropped out of, and nobody came back to, ends here.
    pub(crate) fn sweep(&self) {
        for room in self.rooms() {
            let now = self.now();
            let mut state = lock(&room.state);
            if !state.over && state.call.next_timeout().is_some_and(|at| at <= now) {
                state.run(now, CallInput::Timeout);
                self.end_if_over(&room, state);
            }
        }
    }

    /// Tells everybody when their call is sent away, spread over `drain`, the first at once. Returns the calls in that order, each with its time.
    pub(crate) fn announce_closing(&self, drain: Duration) -> Vec<(Leaving, Duration)> {
        let mut rooms = self.rooms();
        rooms.retain(|room| !lock(&room.state).sockets.is_empty());
        let share = |place: u32| drain.mul_f64(f64::from(place) / rooms.len().max(1) as f64);
        let leaving = (0_u32..).map(share).zip(&rooms).map(|(after, room)| {
            let retry_after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let text = Utf8Bytes::from(encode(&ToClient::from(Closing { retry_after })));
            lock(&room.state).sockets.values().for_each(|socket| {
                // One that does not keep up is closed by its queue.
                let _kept_up = socket.outbound.text(text.clone());
            });
            (Leaving(Arc::clone(room)), after)
        });
        leaving.collect()
    }

    fn rooms(&self) -> Vec<Arc<Room>> {
        lock(&self.calls).values().cloned().collect()
    }

    /// Drops the machine of a call that nobody is in.
    fn end_if_over(&self, room: &Arc<Room>, mut state: MutexGuard<'_, RoomState>) {
        if state.over || !state.call.is_over() {
            return;
        }
        state.over = true;
        drop(state);
        let mut calls = lock(&self.calls);
        if calls.get(&room.name).is_some_and(|current| Arc::ptr_eq(current, room)) {
            calls.remove(&room.name);
            tracing::info!(call = %short(&room.name), calls = calls.len(), "call ends");
        }
    }
}

/// A call that is about to be sent away.
#[derive(Debug)]
pub(crate) struct Leaving(Arc<Room>);

impl Leaving {
    /// Closes all connections of the call at once and runs its machine no more: its members take the call with them as it
    /// is, and nobody is told that somebody else is away or gone.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0.state);
        state.stopped = true;
        for socket in std::mem::take(&mut state.sockets).into_values() {
            socket.outbound.close(Code::Closing);
        }
    }
}

impl Place {
    pub(crate) fn received(&self, message: ToRelay) {
        self.run(CallInput::Received(self.connection, Box::new(message)));
    }

    /// Something that the connection itself found wrong; whether that closes it stands in the code.
    pub(crate) fn refused(&self, code: Code, message: String) {
        self.run(CallInput::Refused(self.connection, code, message));
    }

    fn run(&self, input: CallInput) {
        let mut state = lock(&self.room.state);
        state.run(self.calls.now(), input);
        self.calls.end_if_over(&self.room, state);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        tracing::debug!(call = %short(&self.room.name), connection = self.connection.0, "gone");
        let mut state = lock(&self.room.state);
        state.sockets.remove(&self.connection);
        state.run(self.calls.now(), CallInput::Closed(self.connection));
        self.calls.end_if_over(&self.room, state);
    }
}

impl RoomState {
    /// Runs the machine until nothing follows any more: a member whose queue is full is closed, which is an input again.
    fn run(&mut self, now: Timestamp, input: CallInput) {
        if self.stopped {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.call.handle(now, input) {
                self.carry_out(output, &mut inputs);
            }
        }
        if let Some(socket) = self.call.lead_connection().and_then(|lead| self.sockets.get(&lead)) {
            socket.leads.store(true, Ordering::Relaxed);
        }
    }

    fn carry_out(&mut self, output: CallOutput, inputs: &mut VecDeque<CallInput>) {
        match output {
            CallOutput::Send { to, text } => self.queue(to, Utf8Bytes::from(&*text), inputs),
            CallOutput::Broadcast { to, text } => {
                let text = Utf8Bytes::from(&*text);
                for to in to {
                    self.queue(to, text.clone(), inputs);
                }
            }
            CallOutput::Replay { to, texts } => {
                let kept_up = self.sockets.get(&to).is_none_or(|socket| socket.outbound.replay(texts));
                self.unless(kept_up, to, inputs);
            }
            CallOutput::Close { connection, code } => {
                if let Some(socket) = self.sockets.remove(&connection) {
                    socket.outbound.close(code);
                }
            }
        }
    }

    fn queue(&mut self, to: ConnectionId, text: Utf8Bytes, inputs: &mut VecDeque<CallInput>) {
        let kept_up = self.sockets.get(&to).is_none_or(|socket| socket.outbound.text(text));
        self.unless(kept_up, to, inputs);
    }

    /// A member that does not keep up is closed by its queue: the call hears of it.
    fn unless(&mut self, kept_up: bool, to: ConnectionId, inputs: &mut VecDeque<CallInput>) {
        if !kept_up {
            tracing::debug!(connection = to.0, "did not keep up");
            self.sockets.remove(&to);
            inputs.push_back(CallInput::Closed(to));
        }
    }
}

/// The beginning of a call's name: enough to tell log lines apart, too little to find the call.
fn short(name: &CallName) -> String {
    let beginning: String = name.as_str().chars().take(NAME_SHOWN).collect();
    format!("{beginning}…")
}

/// A panic while the lock was held would be a bug of ours; other calls go on, and this one with what it has.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
