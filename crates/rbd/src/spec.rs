//! How people name images and snapshots: `[POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The name of an image or of a snapshot of it, with the pool and the namespace where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageSpec {
    /// The pool, if one is named.
    pub pool: Option<String>,
    /// The namespace, "" for the default one.
    pub namespace: String,
    /// The image.
    pub image: String,
    /// The snapshot, if one is named.
    pub snap: Option<String>,
}

impl ImageSpec {
    /// An image of a pool's namespace, "" being the default one.
    pub fn new(pool: &str, namespace: &str, image: &str) -> Self {
        Self {
            pool: Some(pool.to_string()),
            namespace: namespace.to_string(),
            image: image.to_string(),
            snap: None,
        }
    }

    /// The same image at a snapshot.
    #[must_use]
    pub fn at(mut self, snap: &str) -> Self {
        self.snap = Some(snap.to_string());
        self
    }
}

/// Refuses empty parts, a namespace without pool, and more parts than there are.
impl FromStr for ImageSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error::InvalidName {
            text: text.to_string(),
        };
        let (path, snap) = match text.split_once('@') {
            Some((path, snap)) => (path, Some(snap)),
            None => (text, None),
        };
        let parts: Vec<_> = path.split('/').collect();
        let (pool, namespace, image) = match *parts.as_slice() {
            [image] => (None, "", image),
            [pool, image] => (Some(pool), "", image),
            // Upstream reads `POOL//IMAGE` as the default namespace.
            [pool, namespace, image] => (Some(pool), namespace, image),
            _ => return Err(error()),
        };
        let names = [pool, Some(image), snap];
        if names.into_iter().flatten().any(str::is_empty)
            || snap.is_some_and(|snap| snap.contains(['@', '/']))
        {
            return Err(error());
        }
        Ok(Self {
            pool: pool.map(str::to_string),
            namespace: namespace.to_string(),
            image: image.to_string(),
            snap: snap.map(str::to_string),
        })
    }
}

impl fmt::Display for ImageSpec {
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

/// The image of a pool as people write it, for errors.
pub(crate) fn full_name(pool: &rados::Pool, image: &str) -> String {
    ImageSpec::new(pool.name(), pool.namespace(), image).to_string()
}

/// Whether a new image may be called so: with these characters in its name nobody could name it.
pub(crate) fn check_new_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(['/', '@']) {
        return Err(Error::InvalidName {
            text: name.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_print_as_they_were_parsed() {
        for text in ["img", "rbd/img", "rbd/ns/img", "rbd/ns/img@s1", "img@s1"] {
            assert_eq!(text.parse::<ImageSpec>().unwrap().to_string(), text);
        }
        let spec: ImageSpec = "rbd/ns/img@s1".parse().unwrap();
        assert_eq!(spec, ImageSpec::new("rbd", "ns", "img").at("s1"));
        let default: ImageSpec = "rbd//img".parse().unwrap();
        assert_eq!(default, ImageSpec::new("rbd", "", "img"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "", "/", "rbd/", "/img", "a/b/c/d", "img@", "@s1", "rbd/@s1", "img@a@b", "img@a/b",
        ] {
            let error = text.parse::<ImageSpec>().unwrap_err();
            assert!(matches!(error, Error::InvalidName { .. }), "{text}");
        }
    }
}
