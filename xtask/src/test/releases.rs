//! The releases of Ceph to test with, made ready in the background.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::vec::IntoIter;

use minicluster::Release;

/// The releases other than this machine's own, each with why it cannot be tested with, if so. The
/// next one is waited for.
pub(super) struct Roots {
    main: Release,
    others: IntoIter<Release>,
    /// What became of each of the others, in their order.
    outcomes: Receiver<Result<(), String>>,
}

impl Roots {
    /// Begins to make what is missing, one after the other.
    pub(super) fn start() -> anyhow::Result<Self> {
        let main = Release::default_of_tests()?;
        Ok(Self::with(main, |release| {
            release.ensure().map(drop).map_err(|e| e.to_string())
        }))
    }

    fn with(
        main: Release,
        ensure: impl Fn(Release) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let others: Vec<Release> = Release::ALL.into_iter().filter(|r| *r != main).collect();
        let (sender, outcomes) = mpsc::channel();
        let all = others.clone();
        thread::spawn(move || {
            for release in all {
                // Nobody waits any more when the tests have been given up.
                let _ = sender.send(ensure(release));
            }
        });
        Self {
            main,
            others: others.into_iter(),
            outcomes,
        }
    }

    /// The release that everything is tested with.
    pub(super) fn main(&self) -> Release {
        self.main
    }
}

impl Iterator for Roots {
    type Item = (Release, Result<(), String>);

    fn next(&mut self) -> Option<Self::Item> {
        let release = self.others.next()?;
        let outcome = self.outcomes.recv();
        let outcome = outcome.unwrap_or_else(|_| Err("its root was given up".to_owned()));
        Some((release, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_release_comes_up_whatever_becomes_of_it() {
        let roots = Roots::with(Release::Reef, |release| match release {
            Release::Nautilus => Ok(()),
            Release::Pacific => Err("no network".to_owned()),
            other => panic!("{other}"),
        });
        assert_eq!(roots.main(), Release::Reef);
        let all: Vec<_> = roots.collect();
        assert_eq!(
            all,
            [
                (Release::Nautilus, Ok(())),
                (Release::Pacific, Err("no network".to_owned())),
                (Release::Tentacle, Err("its root was given up".to_owned())),
            ]
        );
    }
}
