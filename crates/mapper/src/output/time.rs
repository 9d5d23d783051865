//! Points in time as C's `ctime` prints them.

use jiff::tz::TimeZone;

/// A point in time: seconds since the epoch. Zero stands for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) i64);

impl Timestamp {
    /// Whether it is not "never".
    pub(crate) const fn is_known(self) -> bool {
        self.0 != 0
    }
}

impl From<denc::UTime> for Timestamp {
    fn from(time: denc::UTime) -> Self {
        Self(time.seconds.into())
    }
}

/// How times are shown.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// In the time zone of the environment, `TZ` or the machine's.
    pub(crate) fn local() -> Self {
        Self {
            zone: TimeZone::system(),
        }
    }

    #[cfg(test)]
    pub(crate) fn in_zone(name: &str) -> Self {
        Self {
            zone: TimeZone::get(name).unwrap(),
        }
    }

    /// `Sun Nov 22 20:51:25 2026`; nothing for "never".
    pub(crate) fn show(&self, time: Timestamp) -> String {
        if !time.is_known() {
            return String::new();
        }
        jiff::Timestamp::from_second(time.0)
            .map(|instant| {
                instant
                    .to_zoned(self.zone.clone())
                    .strftime("%a %b %e %H:%M:%S %Y")
                    .to_string()
            })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_padded_with_a_space() {
        assert_eq!(
            Clock::in_zone("UTC").show(Timestamp(86_400)),
            "Fri Jan  2 00:00:00 1970"
        );
        assert_eq!(Clock::in_zone("UTC").show(Timestamp(0)), "");
        assert_eq!(Clock::in_zone("UTC").show(Timestamp(i64::MAX)), "");
    }
}
