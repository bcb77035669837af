//! Leads are lost one after the other, and everybody must follow the next.

use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until};

use conclave_shared::crypto::random;

use super::{
    Progress,
    call::Call,
    device::{DeviceError, Gone, PATIENCE, Running, Way},
};

/// How often it is looked whether everybody has followed.
const POLL: Duration = Duration::from_millis(5);
/// Between a call that has settled and the next loss at most: drawn, so that losses meet every moment of a call's life.
const PAUSE_MILLIS: u64 = 400;
/// A relay that replaced two silent leads shortly one after the other replaces no third for ten seconds, so that nobody
/// can depose one lead after the other. What is measured here is a lead that falls silent now and then.
const BETWEEN_PAIRS: Duration = Duration::from_millis(10_500);

impl Call {
    /// Loses so many leads: every first by a closed socket, every second by silence on an open one. Each is replaced by
    /// a member that joins, so that the call stays as large as it is.
    pub(super) async fn lose_leads(&mut self, losses: usize, progress: &Progress) -> Result<(), DeviceError> {
        self.books.begin_losing();
        let mut paused_until = tokio::time::Instant::now();
        for number in 0..losses {
            let silent = number % 2 == 1;
            let draw = random::bytes().map_or(0, u64::from_be_bytes);
            sleep(Duration::from_millis(draw % PAUSE_MILLIS)).await;
            if silent {
                sleep_until(paused_until).await;
            }
            self.lose_lead(silent).await;
            if number % 4 == 3 {
                paused_until = tokio::time::Instant::now() + BETWEEN_PAIRS;
            }
            progress.lost_one();
            self.join()?;
            self.sealing().await;
        }
        Ok(())
    }

    /// Loses the lead and waits until everybody else seals under an epoch of the next one.
    async fn lose_lead(&mut self, silent: bool) {
        let Some(lead) = self.take_lead() else {
            return self.books.ledger().error("nobody leads".to_owned());
        };
        let Some(joined) = lead.seals() else {
            return self.books.ledger().error("the lead does not seal".to_owned());
        };
        lead.leave(Way::Dropped);
        let Some(Gone { stopped, transport, spoke }) = lead.gone().await else {
            return self.books.ledger().error("a lead's session did not stop".to_owned());
        };
        self.leaves += 1;
        self.stopped.insert(joined, stopped);
        let at = Instant::now();
        self.books.ledger().lose(joined, at);
        self.books.leaving(joined, at, Way::Dropped);
        // Dropping it closes the socket.
        let open = transport.filter(|_| silent);
        while at.elapsed() < PATIENCE && self.books.ledger().loss().is_some_and(|loss| loss.healed.is_none()) {
            sleep(POLL).await;
        }
        // Its process ends now: the relay keeps the seat for its usual time, then the next lead removes it.
        drop(open);
        let Some(loss) = self.books.ledger().loss() else { return };
        let Some(healed) = loss.healed else {
            let stuck = self.books.ledger().stuck();
            let way = if silent { "fell silent" } else { "closed its socket" };
            return self.books.ledger().error(format!("{stuck} members were stuck after the lead {way}"));
        };
        let last_sign = if silent { spoke } else { at };
        let detected = loss.detected.unwrap_or(at);
        let (from_last_sign, from_detection) =
            (healed.saturating_duration_since(last_sign), healed.saturating_duration_since(detected));
        tracing::debug!(lead = %joined, silent, ?from_last_sign, ?from_detection, "a lost lead was followed");
        self.books.figures().lead_followed(silent, from_last_sign, from_detection);
    }

    /// Takes out the device that leads.
    fn take_lead(&mut self) -> Option<Running> {
        let lead = self.books.ledger().lead()?;
        if self.lead.as_ref().is_some_and(|bot| bot.seals() == Some(lead)) {
            return self.lead.take();
        }
        let at = self.members.iter().position(|member| member.seals() == Some(lead))?;
        Some(self.members.swap_remove(at))
    }
}
