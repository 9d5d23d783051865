//! Metavariables in values: `/etc/ceph/$cluster.$name.keyring`
//! (ceph: doc/rados/configuration/ceph-conf.rst, "Metavariables").

use denc::AuthEntityName;

use super::Environment;

/// What metavariables stand for.
#[derive(Clone, Debug)]
pub(super) struct Variables {
    pub(super) cluster: String,
    pub(super) name: AuthEntityName,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) home: String,
}

impl Variables {
    pub(super) fn new(cluster: String, name: AuthEntityName, environment: &Environment) -> Self {
        Self {
            cluster,
            name,
            host: environment.host.clone(),
            pid: environment.pid,
            home: environment.get("HOME").unwrap_or_default().to_string(),
        }
    }

    /// Replaces `$variable` and `${variable}`. What is not known is left as it is, `$data_dir` and
    /// the names of other options among it.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            rest = after;
            let (name, behind) = split_name(after);
            if let Some(value) = self.value(name) {
                expanded.push_str(&value);
                rest = behind;
            } else {
                expanded.push('$');
            }
        }
        expanded.push_str(rest);
        expanded
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "cluster" => self.cluster.clone(),
            "name" => self.name.to_string(),
            "type" => self.name.kind.to_string(),
            "id" | "num" => self.name.id.clone(),
            "host" => self.host.clone(),
            "pid" => self.pid.to_string(),
            "home" => self.home.clone(),
            _ => return None,
        })
    }
}

/// The name of the variable that `text` begins with, and what is behind it.
fn split_name(text: &str) -> (&str, &str) {
    if let Some(inside) = text.strip_prefix('{')
        && let Some(parts) = inside.split_once('}')
    {
        return parts;
    }
    let end = text
        .find(|next: char| !next.is_ascii_lowercase() && next != '_')
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are those of `ceph-conf --lookup` of 16.2.15 for the same values.
    #[test]
    fn variables_are_replaced_as_ceph_does() {
        let variables = Variables {
            cluster: "c".into(),
            name: AuthEntityName::client("foo"),
            host: "vm".into(),
            pid: 14736,
            home: "/root".into(),
        };
        for (text, expected) in [
            (
                "$cluster/$name/$id/$type/$host/$pid/${id}x/$nope/$$id",
                "c/client.foo/foo/client/vm/14736/foox/$nope/$foo",
            ),
            (
                "$type.$id ${name}s $names ${names} $ $1",
                "client.foo client.foos $names ${names} $ $1",
            ),
            ("/x/$pool/$cluster.$name", "/x/$pool/c.client.foo"),
            ("a${id", "a${id"),
        ] {
            assert_eq!(variables.expand(text), expected);
        }
    }
}
