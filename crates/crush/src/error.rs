//! Why a rule gave no placement.

/// A rule that could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The map has no such rule.
    #[error("CRUSH map has no rule {0}")]
    NoRule(u32),
    /// A multi-step-retry rule whose steps do not fit together.
    #[error("steps of CRUSH rule {0} do not fit together")]
    MalformedRule(u32),
    /// Following the rule took more steps than any sensible map needs.
    #[error("CRUSH rule {0} does not come to an end")]
    Endless(u32),
}
