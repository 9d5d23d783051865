//! What cannot be done because the monitors do not let this client in any more.

use super::Objecter;
use crate::Error;

impl Objecter {
    /// There is no ticket for OSDs, and the monitors give none: fails the operations of OSDs that are
    /// not connected. Those that are go on, since OSDs ask for tickets at the beginning only.
    pub(crate) fn not_let_in(&self, error: &Error) {
        let sessions: Vec<_> = self.view().sessions.values().cloned().collect();
        let stranded: Vec<_> = sessions
            .iter()
            .flat_map(|session| session.take_unless_connected())
            .collect();
        if !stranded.is_empty() {
            tracing::warn!(%error, operations = stranded.len(), "there are no tickets for OSDs");
        }
        for op in stranded {
            op.complete(Err(error.clone()));
        }
    }
}
