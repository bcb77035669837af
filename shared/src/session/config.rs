//! The times of a session. One value is handed to every session; none is made inside.

use std::time::Duration;

/// How long things take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// From a commit with a new session to its activation: somebody must be shut out.
    pub activate_session: Duration,
    /// From a commit that ratchets to its activation.
    pub activate_ratchet: Duration,
    /// How long after that a sender that heard no `activate` switches by itself.
    pub switch_margin: Duration,
    /// How long receivers keep an old key after the switch: retransmissions and jitter buffers.
    pub retire: Duration,
    /// How long a session lives at most.
    pub rotation: Duration,
    /// How long a joiner may take to show over Olm that it is there.
    pub presence: Duration,
    /// How long the lead waits for one-time keys before it asks again.
    pub claim: Duration,
    /// How often the lead shows that it is there. After three that are missing it is suspected.
    pub beat: Duration,
    /// How often everybody else does.
    pub alive: Duration,
    /// How much longer than others somebody may have heard no beat before the lead removes them.
    pub hidden: Duration,
    /// How long the lead may leave a leave uncommitted before it is suspected.
    pub leave: Duration,
    /// How long nothing fresh may be heard of the lead before the application is told.
    pub lease_warning: Duration,
    /// How long a device seals without having heard anything fresh of its lead: from 10 s on.
    pub lease: Duration,
    /// How long a device seals after it learnt that it lacks the newest epoch.
    pub behind: Duration,
    /// How long the lead waits for members that have not come back to a relay that was restarted. Nobody joins meanwhile.
    pub absent: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            activate_session: Duration::from_millis(400),
            activate_ratchet: Duration::from_secs(1),
            switch_margin: Duration::from_millis(500),
            retire: Duration::from_secs(2),
            rotation: Duration::from_secs(5 * 60),
            presence: Duration::from_secs(10),
            claim: Duration::from_secs(1),
            beat: Duration::from_secs(2),
            alive: Duration::from_secs(10),
            hidden: Duration::from_secs(30),
            leave: Duration::from_secs(2),
            lease_warning: Duration::from_secs(5),
            lease: Duration::from_secs(45),
            behind: Duration::from_secs(2),
            absent: Duration::from_secs(5),
        }
    }
}
