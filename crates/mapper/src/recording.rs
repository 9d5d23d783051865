//! What upstream's `rbd` was recorded to print; see `testdata/cli/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// One call of `rbd` and what came of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: u8,
    #[serde(default)]
    pub(crate) facts: serde_json::Value,
}

impl Recording {
    /// All recordings of a group.
    pub(crate) fn load(group: &str) -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/cli/{group}.json"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    /// The recording of a name.
    pub(crate) fn find<'a>(cases: &'a [Self], name: &str) -> &'a Self {
        cases
            .iter()
            .find(|case| case.name == name)
            .unwrap_or_else(|| panic!("no recording {name:?}"))
    }

    /// The recordings of `name` in all five output formats, by the suffix of their names.
    pub(crate) fn formats<'a>(cases: &'a [Self], name: &str) -> BTreeMap<&'static str, &'a Self> {
        ["", " json", " json pretty", " xml", " xml pretty"]
            .into_iter()
            .map(|suffix| (suffix, Self::find(cases, &format!("{name}{suffix}"))))
            .collect()
    }
}
