//! What programs that have ended took.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::sample::Cost;
use super::statistics::median;

/// Counters of the kernel. They are whole numbers, kept as what is calculated with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) user_ns: f64,
    pub(super) kernel_ns: f64,
    pub(super) voluntary: f64,
    pub(super) involuntary: f64,
}

impl Usage {
    /// Of all children of this process that were waited for, and of theirs.
    pub(super) fn of_children() -> anyhow::Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok(Self {
            user_ns: nanoseconds(usage.user_time()),
            kernel_ns: nanoseconds(usage.system_time()),
            voluntary: usage.voluntary_context_switches() as f64,
            involuntary: usage.involuntary_context_switches() as f64,
        })
    }

    /// Of several runs, each counter by itself.
    pub(super) fn median(of: &[Self]) -> Self {
        let middle = |value: fn(&Self) -> f64| median(of.iter().map(value)).unwrap_or_default();
        Self {
            user_ns: middle(|usage| usage.user_ns),
            kernel_ns: middle(|usage| usage.kernel_ns),
            voluntary: middle(|usage| usage.voluntary),
            involuntary: middle(|usage| usage.involuntary),
        }
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            user_ns: self.user_ns - earlier.user_ns,
            kernel_ns: self.kernel_ns - earlier.kernel_ns,
            voluntary: self.voluntary - earlier.voluntary,
            involuntary: self.involuntary - earlier.involuntary,
        }
    }

    /// What is left when the cost of starting and ending is taken off.
    pub(super) fn cost_beyond(&self, least: &Self) -> Cost {
        let left = self.since(least);
        let (user, kernel) = (left.user_ns.max(0.0), left.kernel_ns.max(0.0));
        Cost {
            cpu_ns: user + kernel,
            kernel_share: kernel / (user + kernel).max(1.0),
            rss_peak_bytes: None,
            voluntary_switches: left.voluntary.max(0.0),
            involuntary_switches: left.involuntary.max(0.0),
        }
    }
}

fn nanoseconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 * 1e9 + time.tv_usec() as f64 * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_and_ending_is_taken_off() {
        let usage = |user_ns, kernel_ns| Usage {
            user_ns,
            kernel_ns,
            voluntary: 10.0,
            involuntary: 0.0,
        };
        let cost = usage(50.0, 80.0).cost_beyond(&usage(20.0, 70.0));
        assert_eq!(cost.cpu_ns, 40.0);
        assert_eq!(cost.kernel_share, 0.25);
        assert_eq!(cost.voluntary_switches, 0.0);
        assert_eq!(
            usage(1.0, 80.0).cost_beyond(&usage(20.0, 70.0)).cpu_ns,
            10.0
        );
    }
}
