//! What a process and its descendants have cost so far, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

use super::sample::Cost;
use super::statistics::to_f64;

/// A reading of the kernel's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Clock ticks in user and in kernel mode, of threads that have ended and of children that were
    /// waited for, too.
    user_ticks: u64,
    kernel_ticks: u64,
    /// Of every thread that is there.
    threads: BTreeMap<u32, Thread>,
}

/// Counters of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Thread {
    run_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

impl Reading {
    /// Of a process and all that descends from it.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut reading = Self::default();
        reading.add(pid).with_context(|| format!("process {pid}"))?;
        Ok(reading)
    }

    fn add(&mut self, pid: u32) -> anyhow::Result<()> {
        let (user, kernel) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
        self.user_ticks += user;
        self.kernel_ticks += kernel;
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let dir = entry?.path();
            // A thread may end while it is looked at.
            let read = |name| fs::read_to_string(dir.join(name)).ok();
            let (Some(times), Some(status)) = (read("schedstat"), read("status")) else {
                continue;
            };
            let tid = dir.file_name().and_then(|name| name.to_str());
            let tid = tid.context("a thread without number")?.parse()?;
            self.threads.insert(tid, thread(&times, &status)?);
            for child in read("children").unwrap_or_default().split_whitespace() {
                // So may a child.
                let _ = self.add(child.parse()?);
            }
        }
        Ok(())
    }

    /// What has been spent from an earlier reading to this one.
    pub(super) fn since(&self, earlier: &Self) -> Cost {
        let user = self.user_ticks.saturating_sub(earlier.user_ticks);
        let kernel = self.kernel_ticks.saturating_sub(earlier.kernel_ticks);
        let ticks = to_f64(user + kernel);
        let mut spent = Thread::default();
        for (tid, now) in &self.threads {
            let then = earlier.threads.get(tid).copied().unwrap_or_default();
            spent.run_ns += now.run_ns.saturating_sub(then.run_ns);
            spent.voluntary += now.voluntary.saturating_sub(then.voluntary);
            spent.involuntary += now.involuntary.saturating_sub(then.involuntary);
        }
        // What a thread has spent is gone with it; the coarse counters keep it.
        let has_lost = earlier
            .threads
            .keys()
            .any(|tid| !self.threads.contains_key(tid));
        let nanoseconds_per_tick = 1e9 / to_f64(rustix::param::clock_ticks_per_second());
        let cpu_ns = if has_lost {
            (ticks * nanoseconds_per_tick).max(to_f64(spent.run_ns))
        } else {
            to_f64(spent.run_ns)
        };
        Cost {
            cpu_ns,
            kernel_share: to_f64(kernel) / ticks.max(1.0),
            rss_peak_bytes: None,
            voluntary_switches: to_f64(spent.voluntary),
            involuntary_switches: to_f64(spent.involuntary),
        }
    }
}

/// Has the kernel forget the most memory that a process had.
pub(super) fn reset_rss_peak(pid: u32) -> anyhow::Result<()> {
    const PEAK: &str = "5";
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, PEAK).context(path)
}

/// The most memory that a process had since, in bytes.
pub(super) fn rss_peak_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// The memory that a process has, in bytes.
pub(super) fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that a process or any of its descendants had so far, in bytes. Nothing when they have
/// ended.
pub(super) fn rss_peak_of_tree(pid: u32) -> Option<u64> {
    let own = rss_peak_bytes(pid).ok();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let children = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .map(str::parse)
                .collect::<Vec<_>>()
        });
    children
        .filter_map(|child| rss_peak_of_tree(child.ok()?))
        .chain(own)
        .max()
}

fn status_bytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    Ok(field_of(&status, field)? << 10)
}

/// User and kernel ticks from a line of `/proc/PID/stat`, whose second field may have anything in it.
fn ticks(stat: &str) -> anyhow::Result<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let times: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    match times.as_slice() {
        [user, kernel, children_user, children_kernel] => {
            Ok((user + children_user, kernel + children_kernel))
        }
        _ => anyhow::bail!("stat is too short"),
    }
}

fn thread(schedstat: &str, status: &str) -> anyhow::Result<Thread> {
    let run_ns = schedstat.split_whitespace().next().unwrap_or_default();
    Ok(Thread {
        run_ns: run_ns.parse().context("schedstat")?,
        voluntary: field_of(status, "voluntary_ctxt_switches:")?,
        involuntary: field_of(status, "nonvoluntary_ctxt_switches:")?,
    })
}

fn field_of(status: &str, field: &str) -> anyhow::Result<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field));
    let number = value.and_then(|value| value.split_whitespace().next());
    Ok(number.with_context(|| format!("no {field}"))?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 4085 0 1 0 66 68 3 5 20 0 3 0 26 1 2";
        assert_eq!(ticks(stat).unwrap(), (69, 73));
        assert!(ticks("7 (a) S 1").is_err());
        assert!(ticks("").is_err());
    }

    #[test]
    fn threads_that_come_count_in_full_and_lost_ones_by_the_ticks() {
        let thread = |run_ns, voluntary| Thread {
            run_ns,
            voluntary,
            involuntary: 0,
        };
        let before = Reading {
            user_ticks: 10,
            kernel_ticks: 10,
            threads: BTreeMap::from([(1, thread(1000, 5))]),
        };
        let mut after = Reading {
            user_ticks: 10,
            kernel_ticks: 13,
            threads: BTreeMap::from([(1, thread(4000, 6)), (2, thread(500, 2))]),
        };
        let cost = after.since(&before);
        assert_eq!(cost.cpu_ns, 3500.0);
        assert_eq!(cost.kernel_share, 1.0);
        assert_eq!(cost.voluntary_switches, 3.0);
        after.threads.remove(&1);
        let tick = 1e9 / to_f64(rustix::param::clock_ticks_per_second());
        assert_eq!(after.since(&before).cpu_ns, 3.0 * tick);
    }

    #[test]
    fn this_process_is_readable() {
        let pid = std::process::id();
        let before = Reading::of(pid).unwrap();
        let mut sum = 0_u64;
        while Reading::of(pid).unwrap().since(&before).cpu_ns < 1e6 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(rss_bytes(pid).unwrap() > 1 << 16);
        assert!(rss_peak_bytes(pid).unwrap() >= rss_bytes(pid).unwrap() / 2);
    }
}
