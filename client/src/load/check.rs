//! Can somebody who left get at the key of an epoch without them?

use conclave_shared::{
    limits,
    session::{
        Session,
        input::Input,
        output::{KeyUpdate, Output},
    },
    time::Timestamp,
    wire::{self, ToClient},
};

use super::ledger::Exclusion;

/// A session out of its driver, with the time at which it stopped: from then on its clock stands still, so nothing that
/// it holds expires.
pub(crate) struct Stopped {
    /// Everything that it ever had.
    pub(crate) session: Session,
    /// When it stopped.
    pub(crate) at: Timestamp,
}

/// What a leaver got at. Nothing, or the run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Findings {
    /// The session itself installed the key of an epoch without its member.
    pub(crate) installed: bool,
    /// Trying everything that the session holds, with the true transcript, gave such a key.
    pub(crate) derived: bool,
}

impl Findings {
    /// It got at something.
    pub(crate) const fn any(self) -> bool {
        self.installed || self.derived
    }
}

/// Tries everything that a leaver holds, shows it everything that others received, and tries again.
pub(crate) fn shown(leaver: &mut Stopped, exclusion: &Exclusion) -> Findings {
    let mut findings = Findings { installed: false, derived: derives(&mut leaver.session, exclusion) };
    let forbidden = |update: &KeyUpdate| match update {
        KeyUpdate::Install { media, .. } => {
            let fingerprint = media.fingerprint();
            exclusion.targets.iter().any(|target| target.fingerprint == fingerprint)
        }
        KeyUpdate::Activate(_) | KeyUpdate::Retire(_) | KeyUpdate::Pause | KeyUpdate::Resume | KeyUpdate::Clear => {
            false
        }
    };
    for text in &exclusion.texts {
        let Ok(message) = wire::decode::<ToClient>(text, limits::COMMIT_LENGTH) else { continue };
        for output in leaver.session.handle(leaver.at, Input::Received(message)) {
            if let Output::Keys(update) = output {
                findings.installed |= forbidden(&update);
            }
        }
    }
    findings.derived |= derives(&mut leaver.session, exclusion);
    findings
}

fn derives(session: &mut Session, exclusion: &Exclusion) -> bool {
    exclusion.targets.iter().any(|target| session.could_derive(&target.transcript, &target.fingerprint))
}
