//! What requests are expected to cost: what they did when it was recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::cost::Cost;
use crate::command;

/// Costs by the names of the kinds of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    /// The compiler, on which counts depend.
    pub(crate) compiler: String,
    pub(crate) costs: BTreeMap<String, Cost>,
}

impl Expected {
    pub(crate) fn of_this_compiler() -> anyhow::Result<Self> {
        let version = command::output(Command::new("rustc").arg("--version"))?;
        Ok(Self {
            compiler: version.trim().to_owned(),
            costs: BTreeMap::new(),
        })
    }

    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::parse(&std::fs::read_to_string(path)?);
        read().with_context(|| path.display().to_string())
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.text()?).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(text)?;
        let compiler = json.get("compiler").and_then(Value::as_str);
        let compiler = compiler.context("the compiler")?.to_owned();
        let mut costs = BTreeMap::new();
        let written = json.get("per_request").and_then(Value::as_object);
        for (kind, written) in written.context("costs")? {
            let mut figures = [0.0; 4];
            for (figure, name) in figures.iter_mut().zip(Cost::NAMES) {
                let found = written.get(name).and_then(Value::as_f64);
                *figure = found.with_context(|| format!("{name} of {kind}"))?;
            }
            costs.insert(kind.clone(), Cost::from_figures(figures));
        }
        Ok(Self { compiler, costs })
    }

    fn text(&self) -> anyhow::Result<String> {
        let costs = self.costs.iter().map(|(kind, cost)| {
            let figures = Cost::NAMES.into_iter().zip(cost.figures());
            let figures: Map<String, Value> = figures
                .map(|(name, figure)| (name.to_owned(), json!(rounded(figure))))
                .collect();
            (kind.clone(), Value::Object(figures))
        });
        let costs: Map<String, Value> = costs.collect();
        let json = json!({ "compiler": self.compiler, "per_request": costs });
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

/// To tenths.
fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let cost = Cost::from_figures([20_000.1, 7.0, 1000.0, 500.5]);
        let expected = Expected {
            compiler: "rustc 1".to_owned(),
            costs: BTreeMap::from([("read-4k".to_owned(), cost)]),
        };
        assert_eq!(
            Expected::parse(&expected.text().unwrap()).unwrap(),
            expected
        );
        Expected::parse("{}").unwrap_err();
    }
}
