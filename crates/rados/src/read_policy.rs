//! Which OSD reads go to.

/// Which of the OSDs that have an object reads go to.
///
/// Only reads of contents of replicated pools go anywhere but to the primary, and only if all OSDs are
/// of Octopus or later: those notice that a replica is not up to date, and the primary is asked then.
/// What such a read sees is at least what had been acknowledged when it was submitted; writes that are
/// still under way it may or may not see, even if they were submitted before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadPolicy {
    /// The primary.
    #[default]
    Primary,
    /// Any of them, each as often as the others.
    Balance,
    /// The one that is nearest to this client's place in the CRUSH hierarchy (`crush_location`); the
    /// primary if others are no nearer.
    Localize,
}
