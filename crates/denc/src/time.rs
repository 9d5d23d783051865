//! Points in time and durations as Ceph stores them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Decode, Encode, Reader, Result, Writer};

/// Seconds and nanoseconds: since 1970 where a point in time is meant, or a duration
/// (ceph: src/include/utime.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UTime {
    /// Whole seconds.
    pub seconds: u32,
    /// Nanoseconds beyond them. Values of a second and more do occur in bytes from outside.
    pub nanoseconds: u32,
}

impl UTime {
    /// The length of the encoding in bytes.
    pub const LEN: usize = 8;

    /// As a duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
            .saturating_add(Duration::from_nanos(self.nanoseconds as u64))
    }

    /// As a point in time.
    pub fn as_system_time(self) -> SystemTime {
        UNIX_EPOCH + self.as_duration()
    }

    /// Whether it is zero, which stands for "never" or "not set".
    pub const fn is_zero(self) -> bool {
        self.seconds == 0 && self.nanoseconds == 0
    }
}

/// Durations beyond what 32 bits of seconds hold become the longest that fits.
impl From<Duration> for UTime {
    fn from(duration: Duration) -> Self {
        u32::try_from(duration.as_secs()).map_or(
            Self {
                seconds: u32::MAX,
                nanoseconds: 999_999_999,
            },
            |seconds| Self {
                seconds,
                nanoseconds: duration.subsec_nanos(),
            },
        )
    }
}

/// Times before 1970 become 1970.
impl From<SystemTime> for UTime {
    fn from(time: SystemTime) -> Self {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }
}

impl fmt::Display for UTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

impl Encode for UTime {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.seconds).u32(self.nanoseconds);
    }
}

impl Decode for UTime {
    const MIN_LEN: usize = Self::LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            seconds: reader.u32()?,
            nanoseconds: reader.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_beyond_a_second_carry_over() {
        let time = UTime {
            seconds: u32::MAX,
            nanoseconds: u32::MAX,
        };
        assert_eq!(
            time.as_duration(),
            Duration::new(u64::from(u32::MAX) + 4, 294_967_295)
        );
    }

    #[test]
    fn seconds_come_first() {
        let time = UTime::from(Duration::new(1, 2));
        assert_eq!(Writer::encode(&time)[..], [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_the_longest() {
        assert_eq!(UTime::from(Duration::from_secs(1 << 40)).seconds, u32::MAX);
        assert_eq!(
            UTime::from(UNIX_EPOCH - Duration::from_secs(1)),
            UTime::default()
        );
    }
}
