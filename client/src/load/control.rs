//! The built-in control: a leaver that is wrongly granted. A checker that does not catch it catches nothing.
//!
//! In a small call of its own, a member stops its session and goes on listening. To everybody it is still there, so the
//! next rotation grants it the key; to the checker it is one that left.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use conclave_shared::id::{Joined, Role};

use super::{
    call::Call,
    check::{Findings, Stopped, shown},
    device::{DeviceError, PATIENCE, Place, Way, stop},
    ledger::Exclusion,
    probe::{Books, Probe, Stage},
};
use crate::{
    driver::{Driver, REQUESTS, Request},
    transport::{Incoming, Transport},
};

/// Runs the control and says whether the wrongly granted leaver was caught, both by what its session installs and by the
/// trial of all that it holds. An error in words when the control itself could not be carried out.
pub(crate) async fn caught(place: Place) -> Result<bool, String> {
    let books = Arc::new(Books::default());
    let call = Call::open(place, books.clone()).await.map_err(|error| error.to_string())?;
    let mut call = call.ok_or("the lead bot of the control got no key")?;
    call.join().and_then(|()| call.join()).map_err(|error| error.to_string())?;
    let outcome = granted_leaver(&mut call, &books).await;
    call.close().await;
    let Findings { installed, derived } = outcome?;
    Ok(installed && derived)
}

async fn granted_leaver(call: &mut Call, books: &Arc<Books>) -> Result<Findings, String> {
    call.sealing().await;
    let (joined, mut leaver, transport) =
        stop_listening(&call.place, books).await.map_err(|error| error.to_string())?.ok_or("no key in the control")?;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::spawn(listen(transport, heard.clone()));
    books.leaving(joined, std::time::Instant::now(), Way::Signed);
    call.leave(Way::Signed).ok_or("nobody to leave in the control")?;
    let targets = timeout(PATIENCE, excluded(books)).await.map_err(|_| "no rotation in the control")?;
    listener.abort();
    let texts = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    let exclusion = Exclusion { joined, texts, targets: targets.targets };
    tokio::task::spawn_blocking(move || shown(&mut leaver, &exclusion)).await.map_err(|error| error.to_string())
}

/// Joins, gets a key, and takes the session away from the connection.
async fn stop_listening(
    place: &Place,
    books: &Arc<Books>,
) -> Result<Option<(Joined, Stopped, Transport)>, DeviceError> {
    let session = place.session("control".to_owned(), Role::Member)?;
    let Ok(transport) = Transport::connect(&place.url).await else { return Ok(None) };
    let (requests, asked) = mpsc::channel(REQUESTS);
    let (stage_in, mut stage) = watch::channel(Stage::Joining);
    let (began, observer) = (Instant::now(), Probe::new(books.clone(), false, stage_in));
    let driver = Driver { session, transport, requests: asked, store: None, observer, began, again: None };
    let task = tokio::spawn(driver.run());
    let sealing = timeout(PATIENCE, stage.wait_for(|stage| matches!(stage, Stage::Sealing(_)))).await;
    let Ok(Ok(Stage::Sealing(joined))) = sealing.map(|stage| stage.map(|stage| *stage)) else { return Ok(None) };
    let _ = requests.send(Request::Abandon).await;
    let Ok(finished) = task.await else { return Ok(None) };
    let (stopped, transport) = stop(finished, began);
    Ok(transport.map(|transport| (joined, stopped, transport)))
}

async fn listen(mut transport: Transport, heard: Arc<Mutex<Vec<Arc<str>>>>) {
    while let Incoming::Text(text) = transport.next().await {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(text.as_str().into());
    }
}

/// The first leave that everybody has switched away from.
async fn excluded(books: &Books) -> Exclusion {
    loop {
        if let Some(exclusion) = books.take_settled().pop() {
            return exclusion;
        }
        sleep(std::time::Duration::from_millis(10)).await;
    }
}
