//! What the process around us says: environment variables, host name, process id.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The surroundings that take part in a configuration. An empty one means that nothing does.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables; of these, `CEPH_CONF`, `CEPH_KEYRING`, `CEPH_ARGS` and `HOME` count.
    pub variables: BTreeMap<String, String>,
    /// What `$host` stands for: the host's name up to the first dot.
    pub host: String,
    /// What `$pid` stands for.
    pub pid: u32,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host
            .trim()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_string();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| VARIABLES.contains(&name.as_str()))
            .collect();
        Self {
            variables,
            host,
            pid: std::process::id(),
        }
    }

    /// A variable that is set to something.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    pub(super) fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }
}

const VARIABLES: [&str; 4] = ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING", "HOME"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_a_host_and_an_id() {
        let environment = Environment::of_process();
        assert_eq!(environment.pid, std::process::id());
        assert!(!environment.host.is_empty() && !environment.host.contains('.'));
    }
}
