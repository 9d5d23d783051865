//! Whether anything is left of what has been done, for tests.

use super::Objecter;
use crate::config::InFlightLimits;

impl Objecter {
    /// Whether no operation waits or is in flight, and nobody waits for word from an OSD.
    pub(crate) fn is_idle(&self) -> bool {
        let view = self.view();
        let mut sessions = view.sessions.values();
        self.waiting().is_empty()
            && sessions.all(|session| session.operations() == 0)
            && self.lingering.is_empty()
            && self.watches.is_empty()
    }

    /// Whether everything that may be in flight may be so now.
    pub(crate) fn limits_are_untouched(&self, limits: InFlightLimits) -> bool {
        self.limits().are_untouched(limits)
    }
}
