//! What callgrind writes (valgrind: docs/html/cl-format.html).

use std::collections::HashMap;

use anyhow::{Context, bail};

/// Instructions and calls of a run.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// All instructions.
    pub(crate) instructions: u64,
    /// Instructions of each function itself, what is inlined into it included.
    pub(crate) own: HashMap<String, u64>,
    /// Instructions of each line of source, `FILE:LINE`.
    pub(crate) lines: HashMap<String, u64>,
    /// Instructions of each function and of what it calls. More than that if it calls itself.
    pub(crate) inclusive: HashMap<String, u64>,
    /// Calls of each function.
    pub(crate) calls: HashMap<String, u64>,
}

impl Profile {
    /// How often memory was asked for: allocated, or moved to where there is more of it.
    pub(crate) fn allocations(&self) -> u64 {
        let calls = |name: &&str| self.calls.get(*name).copied().unwrap_or_default();
        ALLOCATORS.iter().map(calls).sum()
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut parser = Parser::default();
        for line in text.lines() {
            parser
                .line(line)
                .with_context(|| format!("callgrind wrote {line:?}"))?;
        }
        parser.profile.instructions = parser.profile.own.values().sum();
        Ok(parser.profile)
    }
}

#[derive(Default)]
struct Parser {
    profile: Profile,
    functions: Names,
    files: Names,
    function: String,
    /// The file of the lines that follow, which is another one where something is inlined.
    file: String,
    callee: String,
    /// The line before, to which the next may be relative.
    last: u64,
    /// Whether the next line says what a call cost.
    is_call: bool,
}

impl Parser {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        match line.chars().next() {
            Some('0'..='9' | '+' | '-' | '*') => return self.cost(line),
            None | Some('#') => return Ok(()),
            _ => {}
        }
        let Some((key, value)) = line.split_once('=') else {
            return Ok(());
        };
        match key {
            "fn" => self.function = self.functions.resolve(value)?,
            "fl" | "fi" | "fe" => self.file = self.files.resolve(value)?,
            "cfn" => self.callee = self.functions.resolve(value)?,
            // Their names count, too.
            "cfi" | "cfl" => drop(self.files.resolve(value)?),
            "calls" => {
                let count: u64 = value.split(' ').next().unwrap_or_default().parse()?;
                *self.profile.calls.entry(self.callee.clone()).or_default() += count;
                self.is_call = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn cost(&mut self, line: &str) -> anyhow::Result<()> {
        let mut words = line.split(' ');
        self.last = match words.next().unwrap_or_default() {
            "*" => self.last,
            word => match word.split_at(1) {
                ("+", more) => self.last + more.parse::<u64>()?,
                ("-", less) => self.last.saturating_sub(less.parse()?),
                _ => word.parse()?,
            },
        };
        let cost: u64 = words.next().map_or(Ok(0), str::parse)?;
        let all = self
            .profile
            .inclusive
            .entry(self.function.clone())
            .or_default();
        *all += cost;
        if std::mem::take(&mut self.is_call) {
            return Ok(());
        }
        *self.profile.own.entry(self.function.clone()).or_default() += cost;
        let place = format!("{}:{}", self.file, self.last);
        *self.profile.lines.entry(place).or_default() += cost;
        Ok(())
    }
}

/// Names, each written out once and called by its number then.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn resolve(&mut self, value: &str) -> anyhow::Result<String> {
        let Some((number, name)) = value.split_once(')') else {
            return Ok(value.to_owned());
        };
        let name = name.trim_start();
        if !name.is_empty() {
            self.0.insert(number.to_owned(), name.to_owned());
        }
        match self.0.get(number) {
            Some(name) => Ok(name.clone()),
            None => bail!("no name has this number"),
        }
    }
}

/// By which names programs ask for memory.
const ALLOCATORS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "\
# callgrind format
events: Ir

fl=(1) main.rs
fn=(1) main
10 5
+2 7
fi=(2) inlined.rs
3 1
fe=(1)
cfi=(3) libc.c
cfn=(2) malloc
calls=4 100
* 40
-1 1

fn=(2)
fl=(3)
100 40

totals: 54
";

    #[test]
    fn costs_are_told_apart() {
        let profile = Profile::parse(WRITTEN).unwrap();
        assert_eq!(profile.instructions, 54);
        assert_eq!(profile.own["main"], 14);
        assert_eq!(profile.own["malloc"], 40);
        assert_eq!(profile.inclusive["main"], 54);
        assert_eq!(profile.lines["main.rs:12"], 7);
        assert_eq!(profile.lines["inlined.rs:3"], 1);
        assert_eq!(profile.lines["main.rs:2"], 1);
        assert_eq!(profile.allocations(), 4);
    }

    #[test]
    fn numbers_without_names_are_refused() {
        Profile::parse("fn=(7)\n1 1\n").unwrap_err();
    }
}
