//! Rules: programs that pick devices.

use std::fmt;

use denc::{Decode, Reader, Result};

/// What a rule is for. An open set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleType(pub u8);

impl RuleType {
    /// Replicated pools.
    pub const REPLICATED: Self = Self(1);
    /// Erasure-coded pools.
    pub const ERASURE: Self = Self(3);
    /// Multi-step retry, results in order of finding.
    pub const MSR_FIRSTN: Self = Self(4);
    /// Multi-step retry, each result at its position.
    pub const MSR_INDEP: Self = Self(5);

    /// Whether the rule is followed with retries across its steps.
    pub const fn is_msr(self) -> bool {
        matches!(self, Self::MSR_FIRSTN | Self::MSR_INDEP)
    }
}

impl fmt::Debug for RuleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::REPLICATED => f.write_str("replicated"),
            Self::ERASURE => f.write_str("erasure"),
            Self::MSR_FIRSTN => f.write_str("msr_firstn"),
            Self::MSR_INDEP => f.write_str("msr_indep"),
            Self(other) => write!(f, "type{other}"),
        }
    }
}

/// What a step does. An open set: unknown steps are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op(pub u32);

impl Op {
    /// Start from an item (first argument).
    pub const TAKE: Self = Self(1);
    /// Choose items of a type (second argument), as many as the first argument says.
    pub const CHOOSE_FIRSTN: Self = Self(2);
    /// As [`CHOOSE_FIRSTN`](Self::CHOOSE_FIRSTN), but what is not found leaves a hole.
    pub const CHOOSE_INDEP: Self = Self(3);
    /// Give out what has been chosen.
    pub const EMIT: Self = Self(4);
    /// Choose items of a type and one device inside each.
    pub const CHOOSELEAF_FIRSTN: Self = Self(6);
    /// As [`CHOOSELEAF_FIRSTN`](Self::CHOOSELEAF_FIRSTN), but what is not found leaves a hole.
    pub const CHOOSELEAF_INDEP: Self = Self(7);
    /// Set the number of attempts.
    pub const SET_CHOOSE_TRIES: Self = Self(8);
    /// Set the number of attempts inside a chosen bucket.
    pub const SET_CHOOSELEAF_TRIES: Self = Self(9);
    /// Set [`choose_local_tries`](crate::Tunables::choose_local_tries).
    pub const SET_CHOOSE_LOCAL_TRIES: Self = Self(10);
    /// Set [`choose_local_fallback_tries`](crate::Tunables::choose_local_fallback_tries).
    pub const SET_CHOOSE_LOCAL_FALLBACK_TRIES: Self = Self(11);
    /// Set [`chooseleaf_vary_r`](crate::Tunables::chooseleaf_vary_r).
    pub const SET_CHOOSELEAF_VARY_R: Self = Self(12);
    /// Set [`chooseleaf_stable`](crate::Tunables::chooseleaf_stable).
    pub const SET_CHOOSELEAF_STABLE: Self = Self(13);
    /// Set [`msr_descents`](crate::Tunables::msr_descents).
    pub const SET_MSR_DESCENTS: Self = Self(14);
    /// Set [`msr_collision_tries`](crate::Tunables::msr_collision_tries).
    pub const SET_MSR_COLLISION_TRIES: Self = Self(15);
    /// Choose items of a type in a multi-step-retry rule.
    pub const CHOOSE_MSR: Self = Self(16);
}

/// One step of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// First argument.
    pub arg1: i32,
    /// Second argument.
    pub arg2: i32,
}

impl Decode for Step {
    const MIN_LEN: usize = 12;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            op: Op(reader.u32()?),
            arg1: reader.i32()?,
            arg2: reader.i32()?,
        })
    }
}

/// A program that picks devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The number by which maps before Luminous refer to it; the rule's own number since.
    pub ruleset: u8,
    /// What it is for.
    pub kind: RuleType,
    /// The fewest replicas it is for; meaningful only in maps before Luminous.
    pub min_size: u8,
    /// The most replicas it is for; meaningful only in maps before Luminous.
    pub max_size: u8,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Without the leading word that says whether the rule exists.
impl Decode for Rule {
    const MIN_LEN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let len = reader.count(0)?;
        let [ruleset, kind, min_size, max_size] = reader.array()?;
        let needed = len.saturating_mul(Step::MIN_LEN);
        let mut steps = reader.sub(needed)?;
        Ok(Self {
            ruleset,
            kind: RuleType(kind),
            min_size,
            max_size,
            steps: (0..len).map(|_| steps.get()).collect::<Result<_>>()?,
        })
    }
}
