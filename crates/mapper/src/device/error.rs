//! Why a request to a device failed.

use std::borrow::Cow;
use std::error::Error as StdError;

use rustix::io::Errno;

/// A request that failed: the number that goes to whoever asked, and the words for the people who
/// wonder about it.
#[derive(Debug)]
pub struct DeviceError {
    errno: Errno,
    text: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DeviceError {
    /// An error that explains itself.
    pub fn new(errno: Errno, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            errno,
            text: text.into(),
            source: None,
        }
    }

    /// An error that came from somewhere else, whose words are kept.
    pub fn from_source(errno: Errno, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        Self {
            errno,
            text: source.to_string().into(),
            source: Some(source),
        }
    }

    /// The number for the one who asked.
    pub const fn errno(&self) -> Errno {
        self.errno
    }
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl StdError for DeviceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The source's own words are this error's words already.
        self.source.as_deref().and_then(StdError::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_once() {
        let error = DeviceError::from_source(Errno::IO, "the disk is gone");
        assert_eq!(error.to_string(), "the disk is gone");
        assert!(error.source().is_none());
        assert_eq!(error.errno(), Errno::IO);
    }
}
