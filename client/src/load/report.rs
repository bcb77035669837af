//! What a load test found.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Counts and times of one call while it runs.
pub(crate) struct Figures {
    join_to_key: Histogram<u64>,
    leave_to_switched: Histogram<u64>,
    /// Of leads whose socket closed, and of leads that fell silent.
    losses: [Healing; 2],
    pub(crate) joiners_checked: u64,
    pub(crate) joiners_caught: u64,
    pub(crate) leavers_checked: u64,
    pub(crate) leavers_caught: u64,
}

/// How long calls had no lead that works.
struct Healing {
    from_last_sign: Histogram<u64>,
    from_detection: Histogram<u64>,
}

/// How long it took from a lost lead until every remaining member sealed under an epoch of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossSpread {
    /// From the closed socket; of a silent lead from the last thing that it said.
    pub from_last_sign_ms: Spread,
    /// From the moment when the first member was told.
    pub from_detection_ms: Spread,
}

/// A spread of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50: f64,
    /// 95 of 100 were faster.
    pub p95: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// What a load test found. Figures per rotation are of the time after the calls were filled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Calls.
    pub calls: usize,
    /// Members of each call, its lead bot included.
    pub members: usize,
    /// Epochs that the leads made, over all calls, the filling included.
    pub rotations: u64,
    /// Of those, the ones made after the calls were filled.
    pub rotations_under_churn: u64,
    /// Members that came, the lead bots not counted.
    pub joins: u64,
    /// Members that left: every second one signed, every second one by dropping its connection.
    pub leaves: u64,
    /// From the start of connecting to the installed key.
    pub join_to_key_ms: Spread,
    /// From the goodbye, or from when the relay gave up the seat of one that went without, to the last remaining member sealing
    /// without the leaver.
    pub leave_to_all_switched_ms: Spread,
    /// How often a lead was to be lost.
    pub lead_losses: usize,
    /// Leads whose socket closed.
    pub lead_closed: LossSpread,
    /// Leads that stopped answering on an open socket.
    pub lead_silent: LossSpread,
    /// Bytes of messages that all members together sent, per rotation.
    pub bytes_up_per_rotation: f64,
    /// Bytes of messages that all members together received, per rotation.
    pub bytes_down_per_rotation: f64,
    /// CPU time of a lead's thread per rotation, its socket included, in milliseconds.
    pub lead_cpu_ms_per_rotation: f64,
    /// Keys that differed from the lead's, and keys that somebody got at who must not.
    pub wrong_keys: u64,
    /// Membership changes that did not reach everybody, one sentence each.
    pub missed_rotations: Vec<String>,
    /// Joiners that were tried against the epoch before their first.
    pub joiners_checked: u64,
    /// Leavers that were shown everything and tried against the epochs without them.
    pub leavers_checked: u64,
    /// The checker found the key of a leaver that was granted one on purpose.
    pub control_caught: bool,
    /// Security events, refusals, lost connections: what and how often.
    pub errors: BTreeMap<String, u64>,
}

impl Report {
    /// Nothing is wrong, nothing is missing, everybody was tried, and the trial can find something.
    #[must_use]
    pub fn passed(&self) -> bool {
        let all_tried = self.joiners_checked == self.joins && self.leavers_checked == self.leaves;
        self.wrong_keys == 0
            && self.missed_rotations.is_empty()
            && self.errors.is_empty()
            && self.control_caught
            && all_tried
            && self.lead_closed.from_last_sign_ms.count + self.lead_silent.from_last_sign_ms.count
                == self.lead_losses as u64
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            join_to_key: histogram(),
            leave_to_switched: histogram(),
            losses: [(), ()].map(|()| Healing { from_last_sign: histogram(), from_detection: histogram() }),
            joiners_checked: 0,
            joiners_caught: 0,
            leavers_checked: 0,
            leavers_caught: 0,
        }
    }
}

impl Figures {
    pub(crate) fn join_to_key(&mut self, took: Duration) {
        self.join_to_key.saturating_record(micros(took));
    }

    pub(crate) fn leave_to_switched(&mut self, took: Duration) {
        self.leave_to_switched.saturating_record(micros(took));
    }

    /// A lost lead was followed. `silent`: its socket stayed open.
    pub(crate) fn lead_followed(&mut self, silent: bool, from_last_sign: Duration, from_detection: Duration) {
        let [closed_ones, silent_ones] = &mut self.losses;
        let healing = if silent { silent_ones } else { closed_ones };
        healing.from_last_sign.saturating_record(micros(from_last_sign));
        healing.from_detection.saturating_record(micros(from_detection));
    }

    /// Adds another call's.
    pub(crate) fn add(&mut self, other: &Self) {
        // Histograms of the same bounds always add up.
        let _ = self.join_to_key.add(&other.join_to_key);
        let _ = self.leave_to_switched.add(&other.leave_to_switched);
        for (own, others) in self.losses.iter_mut().zip(&other.losses) {
            let _ = own.from_last_sign.add(&others.from_last_sign);
            let _ = own.from_detection.add(&others.from_detection);
        }
        self.joiners_checked += other.joiners_checked;
        self.joiners_caught += other.joiners_caught;
        self.leavers_checked += other.leavers_checked;
        self.leavers_caught += other.leavers_caught;
    }

    pub(crate) fn spreads(&self) -> (Spread, Spread) {
        (spread(&self.join_to_key), spread(&self.leave_to_switched))
    }
}

impl Figures {
    /// Of leads whose socket closed, and of leads that fell silent.
    pub(crate) fn losses(&self) -> [LossSpread; 2] {
        self.losses.each_ref().map(|healing| LossSpread {
            from_last_sign_ms: spread(&healing.from_last_sign),
            from_detection_ms: spread(&healing.from_detection),
        })
    }
}

/// The slowest that is told from slower ones, in microseconds: far above what counts as missed.
const SLOWEST: u64 = 60_000_000;

fn histogram() -> Histogram<u64> {
    // The library checks the bounds and the digits, and these are right.
    #[allow(clippy::expect_used)]
    Histogram::new_with_bounds(1, SLOWEST, 3).expect("bounds and digits are possible")
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn spread(histogram: &Histogram<u64>) -> Spread {
    let at = |quantile| millis(histogram.value_at_quantile(quantile));
    Spread { count: histogram.len(), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: millis(histogram.max()) }
}

/// To a tenth of a millisecond: what follows is noise.
fn millis(micros: u64) -> f64 {
    (Duration::from_micros(micros).as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_milliseconds() {
        let mut figures = Figures::default();
        for millis in 1..=100 {
            figures.leave_to_switched(Duration::from_millis(millis));
        }
        let mut sum = Figures::default();
        sum.add(&figures);
        let (_, leave) = sum.spreads();
        assert_eq!(leave.count, 100);
        assert!((leave.p50 - 50.0).abs() < 0.2 && (leave.p95 - 95.0).abs() < 0.2, "{leave:?}");
        assert!((leave.max - 100.0).abs() < 0.2, "{leave:?}");
    }

    #[test]
    fn any_fault_fails_the_run() {
        let none = Spread { count: 0, p50: 0.0, p95: 0.0, p99: 0.0, max: 0.0 };
        let good = Report {
            calls: 1,
            members: 3,
            rotations: 3,
            rotations_under_churn: 1,
            joins: 2,
            leaves: 1,
            join_to_key_ms: none,
            leave_to_all_switched_ms: none,
            lead_losses: 0,
            lead_closed: LossSpread { from_last_sign_ms: none, from_detection_ms: none },
            lead_silent: LossSpread { from_last_sign_ms: none, from_detection_ms: none },
            bytes_up_per_rotation: 0.0,
            bytes_down_per_rotation: 0.0,
            lead_cpu_ms_per_rotation: 0.0,
            wrong_keys: 0,
            missed_rotations: Vec::new(),
            joiners_checked: 2,
            leavers_checked: 1,
            control_caught: true,
            errors: BTreeMap::new(),
        };
        assert!(good.passed());
        let faults: [fn(&mut Report); 7] = [
            |report| report.wrong_keys = 1,
            |report| report.missed_rotations.push("member 2 left and no epoch without it came".to_owned()),
            |report| report.joiners_checked = 1,
            |report| report.leavers_checked = 0,
            |report| report.control_caught = false,
            |report| report.lead_losses = 1,
            |report| report.errors = BTreeMap::from([("security event".to_owned(), 1)]),
        ];
        for fault in faults {
            let mut report = good.clone();
            fault(&mut report);
            assert!(!report.passed(), "{report:?}");
        }
    }
}
