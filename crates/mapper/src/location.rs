//! Which image is meant: positional arguments and options put together.
//!
//! The rules are upstream's (ceph: src/tools/rbd/Utils.cc, `get_pool_image_snapshot_names`): the name
//! of an image may carry its pool, namespace and snapshot, whether it is given as an option or not,
//! and only if it is not given as an option it is taken from the positional arguments.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::args::image::ImageOptions;
use crate::exit::{Failure, Outcome};

/// Where an image is, as far as was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    /// The pool, if one is named.
    pub(crate) pool: Option<String>,
    /// The namespace, "" for the default one.
    pub(crate) namespace: String,
    /// The image.
    pub(crate) image: String,
    /// The snapshot, if one is named.
    pub(crate) snap: Option<String>,
}

/// As it would be typed.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pool) = &self.pool {
            write!(f, "{pool}/")?;
            if !self.namespace.is_empty() {
                write!(f, "{}/", self.namespace)?;
            }
        }
        f.write_str(&self.image)?;
        if let Some(snap) = &self.snap {
            write!(f, "@{snap}")?;
        }
        Ok(())
    }
}

/// Positional arguments, used up from the front.
#[derive(Debug)]
pub(crate) struct Positionals(std::vec::IntoIter<String>);

impl Positionals {
    /// All of them.
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self(words.into_iter())
    }

    /// The next one; none if it is not there or empty.
    pub(crate) fn take(&mut self) -> Option<String> {
        self.0.next().filter(|word| !word.is_empty())
    }

    /// What is left.
    pub(crate) fn rest(self) -> Vec<String> {
        self.0.collect()
    }
}

/// What a command wants to hear about an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Before the name of what is missing: nothing, or `destination `.
    pub(crate) role: &'static str,
    /// Whether a snapshot can be named.
    pub(crate) is_snap_allowed: bool,
    /// Whether the image must have been named.
    pub(crate) is_image_needed: bool,
    /// Whether no name may hold `/` or `@`: for names that are about to be given.
    pub(crate) is_strict: bool,
}

impl Wanted {
    /// An image that exists.
    pub(crate) const IMAGE: Self = Self {
        role: "",
        is_snap_allowed: false,
        is_image_needed: true,
        is_strict: false,
    };
    /// An image that exists, or a snapshot of it.
    pub(crate) const IMAGE_OR_SNAP: Self = Self {
        is_snap_allowed: true,
        ..Self::IMAGE
    };
    /// An image that is to be made.
    pub(crate) const NEW_IMAGE: Self = Self {
        is_strict: true,
        ..Self::IMAGE
    };
    /// The other image of a command that has two.
    pub(crate) const DESTINATION: Self = Self {
        role: "destination ",
        ..Self::NEW_IMAGE
    };
}

/// Puts together what was said about an image.
///
/// # Errors
/// `EINVAL`, in upstream's words.
pub(crate) fn locate(
    options: ImageOptions,
    snap: Option<String>,
    positionals: &mut Positionals,
    wanted: Wanted,
) -> Outcome<Location> {
    let mut location = Location {
        pool: options.pool,
        namespace: options.namespace.unwrap_or_default(),
        image: String::new(),
        snap,
    };
    let spec = options
        .image
        .filter(|image| !image.is_empty())
        .or_else(|| positionals.take());
    if let Some(spec) = spec {
        location.apply(&spec, wanted)?;
    }
    if location.image.is_empty() && wanted.is_image_needed {
        return Err(Failure::invalid(format_args!(
            "{}image name was not specified",
            wanted.role
        )));
    }
    if wanted.is_strict && location.pool.as_deref().is_some_and(holds_separator) {
        return Err(Failure::invalid(format_args!(
            "invalid pool name '{}'",
            location.pool.as_deref().unwrap_or_default()
        )));
    }
    if holds_separator(&location.namespace) {
        return Err(Failure::invalid(format_args!(
            "invalid namespace name '{}'",
            location.namespace
        )));
    }
    if !wanted.is_snap_allowed
        && location
            .snap
            .as_deref()
            .is_some_and(|snap| !snap.is_empty())
    {
        return Err(Failure::invalid(format_args!(
            "{}snapshot name specified for a command that doesn't use it",
            wanted.role
        )));
    }
    Ok(location)
}

impl Location {
    fn apply(&mut self, spec: &str, wanted: Wanted) -> Outcome {
        let parts = Parts::read(spec, wanted.is_strict)
            .ok_or_else(|| Failure::invalid(format_args!("invalid spec '{spec}'")))?;
        if let Some(pool) = parts.pool {
            self.pool = Some(pool.to_owned());
        }
        if let Some(namespace) = parts.namespace {
            namespace.clone_into(&mut self.namespace);
        }
        parts.image.clone_into(&mut self.image);
        if let Some(snap) = parts.snap {
            self.snap = Some(snap.to_owned());
        }
        Ok(())
    }
}

fn holds_separator(name: &str) -> bool {
    name.contains(['/', '@'])
}

/// A pool and a namespace for the commands about pools: `POOL[/NAMESPACE]`.
///
/// # Errors
/// `EINVAL` if the namespace cannot be one.
pub(crate) fn locate_pool(
    pool: Option<String>,
    namespace: Option<String>,
    positionals: &mut Positionals,
) -> Outcome<(Option<String>, String)> {
    let mut namespace = namespace.unwrap_or_default();
    let pool = match pool {
        Some(pool) => Some(pool),
        None => positionals.take().map(|spec| match spec.rsplit_once('/') {
            Some((pool, name)) => {
                name.clone_into(&mut namespace);
                pool.to_owned()
            }
            None => spec,
        }),
    };
    if holds_separator(&namespace) {
        return Err(Failure::invalid(format_args!(
            "invalid namespace '{namespace}'"
        )));
    }
    Ok((pool.filter(|pool| !pool.is_empty()), namespace))
}

/// The parts of a spec.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    pool: Option<&'a str>,
    namespace: Option<&'a str>,
    image: &'a str,
    snap: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes as much as it can for pool and namespace. Where not `is_strict`, further slashes belong
    /// to the image and further at-signs to the snapshot.
    fn read(spec: &'a str, is_strict: bool) -> Option<Self> {
        let with_pool = spec.split_once('/').and_then(|(pool, rest)| {
            if pool.is_empty() || (is_strict && pool.contains('@')) {
                return None;
            }
            let with_namespace = rest.split_once('/').and_then(|(namespace, rest)| {
                if namespace.is_empty() || namespace.contains('@') {
                    return None;
                }
                Self::read_image(rest, is_strict).map(|parts| Self {
                    namespace: Some(namespace),
                    ..parts
                })
            });
            with_namespace
                .or_else(|| Self::read_image(rest, is_strict))
                .map(|parts| Self {
                    pool: Some(pool),
                    ..parts
                })
        });
        with_pool.or_else(|| Self::read_image(spec, is_strict))
    }

    fn read_image(text: &'a str, is_strict: bool) -> Option<Self> {
        let (image, snap) = match text.split_once('@') {
            Some((image, snap)) => (image, Some(snap)),
            None => (text, None),
        };
        let is_legal = !image.is_empty()
            && snap != Some("")
            && !(is_strict && (image.contains('/') || snap.is_some_and(holds_separator)));
        is_legal.then_some(Self {
            pool: None,
            namespace: None,
            image,
            snap,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(spec: &str, is_strict: bool) -> Option<String> {
        Parts::read(spec, is_strict).map(|parts| {
            format!(
                "{}|{}|{}|{}",
                parts.pool.unwrap_or("-"),
                parts.namespace.unwrap_or("-"),
                parts.image,
                parts.snap.unwrap_or("-")
            )
        })
    }

    #[test]
    fn specs_fall_into_their_parts() {
        for (spec, strict, relaxed) in [
            ("a", Some("-|-|a|-"), Some("-|-|a|-")),
            ("p/a", Some("p|-|a|-"), Some("p|-|a|-")),
            ("p/n/a@s", Some("p|n|a|s"), Some("p|n|a|s")),
            ("a/b/c/d", None, Some("a|b|c/d|-")),
            ("rbd//b", None, Some("rbd|-|/b|-")),
            ("rbd/", None, Some("-|-|rbd/|-")),
            ("a@b@c", None, Some("-|-|a|b@c")),
            ("a@b/c", None, Some("a@b|-|c|-")),
            ("a@", None, None),
            ("@s", None, None),
            ("", None, None),
        ] {
            assert_eq!(parts(spec, true).as_deref(), strict, "{spec}");
            assert_eq!(parts(spec, false).as_deref(), relaxed, "{spec}");
        }
    }

    #[test]
    fn an_image_option_leaves_the_positionals_alone() {
        let options = ImageOptions {
            pool: Some(String::from("p")),
            image: Some(String::from("a")),
            ..ImageOptions::default()
        };
        let mut positionals = Positionals::new(vec![String::from("b")]);
        let location = locate(options, None, &mut positionals, Wanted::IMAGE).unwrap();
        assert_eq!(location.to_string(), "p/a");
        assert_eq!(positionals.take().as_deref(), Some("b"));
    }

    #[test]
    fn a_spec_wins_over_the_pool_option() {
        let options = ImageOptions {
            pool: Some(String::from("p")),
            ..ImageOptions::default()
        };
        let mut positionals = Positionals::new(vec![String::from("q/a")]);
        let location = locate(options, None, &mut positionals, Wanted::IMAGE).unwrap();
        assert_eq!(location.to_string(), "q/a");
    }

    #[test]
    fn pools_may_name_a_namespace() {
        let mut positionals = Positionals::new(vec![String::from("p/n")]);
        assert_eq!(
            locate_pool(None, None, &mut positionals).unwrap(),
            (Some(String::from("p")), String::from("n"))
        );
    }
}
