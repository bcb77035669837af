//! One device under load: a real session over a real socket.

use std::{sync::Arc, thread, time::Duration};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use conclave_shared::{
    id::{CallName, Joined, Role, UserName},
    identity::device::Device,
    session::{Profile, Session, config::Config},
    time::Timestamp,
};

use super::{
    check::Stopped,
    probe::{Books, Probe, Stage},
};
use crate::{
    driver::{Driver, Finished, REQUESTS, Request},
    token::{Grant, Issuer},
    transport::{RelayUrl, Transport},
};

/// How long a device may take to get its key, and a leave to reach everybody, before it counts as missed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long the token of a device is good for: it is used at once.
const TOKEN: Duration = Duration::from_secs(60);
/// How far ahead the ratchet of a kept session is tried: more joins than fit between two leaves of a load test.
const STEPS: u32 = 2048;

/// Where devices go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) url: RelayUrl,
    pub(crate) call: CallName,
    pub(crate) issuer: Arc<Issuer>,
}

/// Why a device could not be made.
#[derive(Debug, Error)]
pub(crate) enum DeviceError {
    #[error(transparent)]
    Name(#[from] conclave_shared::id::IdError),
    #[error(transparent)]
    Token(#[from] crate::token::TokenError),
    #[error("the system's random generator failed")]
    Random,
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A device that runs somewhere.
pub(crate) struct Running {
    requests: mpsc::Sender<Request>,
    stage: watch::Receiver<Stage>,
    gone: oneshot::Receiver<Gone>,
}

/// What is left of a device that stopped.
pub(crate) struct Gone {
    /// Its session.
    pub(crate) stopped: Stopped,
    /// Its connection, if it was left open. Nobody reads from it, so nothing is answered: a process that hangs.
    pub(crate) transport: Option<Transport>,
    /// When it last said anything.
    pub(crate) spoke: std::time::Instant,
}

/// How a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With a signed goodbye.
    Signed,
    /// By dropping the connection: the session is told nothing and keeps all that it holds.
    Dropped,
}

impl Place {
    /// Starts a member as a task of this runtime.
    pub(crate) fn member(&self, name: String, books: &Arc<Books>) -> Result<Running, DeviceError> {
        let session = self.session(name, Role::Member)?;
        let (running, ends) = ends();
        tokio::spawn(self.clone().run(session, Probe::new(books.clone(), false, ends.stage), ends.asked, ends.gone));
        Ok(running)
    }

    /// Starts a lead bot on a thread of its own, whose CPU time is then the lead's.
    pub(crate) fn lead(&self, books: &Arc<Books>) -> Result<Running, DeviceError> {
        let session = self.session("lead bot".to_owned(), Role::LeadBot)?;
        let (running, ends) = ends();
        let (place, books) = (self.clone(), books.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("lead".to_owned()).spawn(move || {
            let probe = Probe::new(books, true, ends.stage);
            runtime.block_on(place.run(session, probe, ends.asked, ends.gone));
        })?;
        Ok(running)
    }

    /// A fresh device with a token of its own. It keeps every key that it is ever given, to be tried at the end.
    pub(crate) fn session(&self, name: String, role: Role) -> Result<Session, DeviceError> {
        let user = UserName::new(name)?;
        let token = self.issuer.issue(&Grant { call: &self.call, user: &user, role, lifetime: TOKEN })?;
        let device = Device::generate().map_err(|_| DeviceError::Random)?;
        let profile = Profile { call: self.call.clone(), name: user.clone(), user, token };
        let mut session = Session::new(device, profile, Config::default());
        session.hoard(STEPS);
        Ok(session)
    }

    async fn run(
        self,
        session: Session,
        mut probe: Probe,
        requests: mpsc::Receiver<Request>,
        gone: oneshot::Sender<Gone>,
    ) {
        probe.starts();
        let transport = match Transport::connect(&self.url).await {
            Ok(transport) => transport,
            Err(error) => return probe.failed(&error.to_string()),
        };
        let began = Instant::now();
        let driver = Driver { session, transport, requests, store: None, observer: probe, began, again: None };
        let finished = driver.run().await;
        let spoke = finished.observer.spoke();
        let (stopped, transport) = stop(finished, began);
        // The harness may have given up on this device.
        let _ = gone.send(Gone { stopped, transport, spoke });
    }
}

/// Takes a session out of a driver that has stopped, with the connection if it is still open.
pub(crate) fn stop(finished: Finished<Probe>, began: Instant) -> (Stopped, Option<Transport>) {
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    (Stopped { session: finished.session, at: Timestamp::from_millis(millis) }, finished.transport)
}

impl Running {
    /// Waits until the device seals; `None` when it never does.
    pub(crate) async fn sealing(&mut self) -> Option<Joined> {
        let waiting = self.stage.wait_for(|stage| !matches!(stage, Stage::Joining));
        match timeout(PATIENCE, waiting).await.ok()?.ok().map(|stage| *stage) {
            Some(Stage::Sealing(joined)) => Some(joined),
            Some(Stage::Joining | Stage::Over) | None => None,
        }
    }

    /// The device seals at this moment.
    pub(crate) fn seals(&self) -> Option<Joined> {
        match *self.stage.borrow() {
            Stage::Sealing(joined) => Some(joined),
            Stage::Joining | Stage::Over => None,
        }
    }

    /// Makes the device leave. Its session comes back through [`stopped`](Self::stopped).
    pub(crate) fn leave(&self, way: Way) {
        let request = match way {
            Way::Signed => Request::Command(conclave_shared::session::input::Command::Leave),
            Way::Dropped => Request::Abandon,
        };
        // The queue is empty: nothing else is ever asked of a device. A driver that is gone has been counted as an error.
        let _ = self.requests.try_send(request);
    }

    /// Waits for the session of a device that was made to leave.
    pub(crate) async fn stopped(self) -> Option<Stopped> {
        self.gone().await.map(|gone| gone.stopped)
    }

    /// The same, with the connection of a device that was made to drop it: it closes when that is dropped.
    pub(crate) async fn gone(self) -> Option<Gone> {
        timeout(PATIENCE, self.gone).await.ok()?.ok()
    }
}

/// The driver's side of a [`Running`].
struct Ends {
    asked: mpsc::Receiver<Request>,
    stage: watch::Sender<Stage>,
    gone: oneshot::Sender<Gone>,
}

fn ends() -> (Running, Ends) {
    let (requests, asked) = mpsc::channel(REQUESTS);
    let (stage_in, stage) = watch::channel(Stage::Joining);
    let (gone_in, gone) = oneshot::channel();
    (Running { requests, stage, gone }, Ends { asked, stage: stage_in, gone: gone_in })
}
