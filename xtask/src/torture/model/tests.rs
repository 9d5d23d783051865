//! What the model has to let pass, and what it has to notice.

use super::*;

const Z: Seen = Seen::Zeros;

fn w(number: u32) -> Seen {
    Seen::Write(id(number))
}

fn id(number: u32) -> OpId {
    OpId::new(1, number)
}

struct Run {
    model: Model,
    violations: Vec<Violation>,
}

impl Run {
    fn new() -> Self {
        Self {
            model: Model::new(4),
            violations: Vec::new(),
        }
    }

    fn begin(&mut self, number: u32, kind: Kind, first: u64, count: u64) -> &mut Self {
        self.feed(&Entry::Submitted {
            id: id(number),
            kind,
            first,
            count,
        })
    }

    fn end(&mut self, number: u32, seen: &[Seen]) -> &mut Self {
        self.feed(&Entry::Done {
            id: id(number),
            seen: seen.to_vec(),
        })
    }

    fn feed(&mut self, entry: &Entry) -> &mut Self {
        let found = self.model.handle(entry);
        self.violations.extend(found);
        self
    }

    fn write(&mut self, number: u32) -> &mut Self {
        self.begin(number, Kind::Write, 0, 1).end(number, &[])
    }

    fn read(&mut self, number: u32, seen: Seen) -> &mut Self {
        self.begin(number, Kind::Read, 0, 1).end(number, &[seen])
    }

    fn crash(&mut self) -> &mut Self {
        self.model.crash();
        self
    }

    fn holds(&self) {
        assert_eq!(self.violations, []);
    }

    fn fails(&self, words: &str) {
        let all: Vec<String> = self.violations.iter().map(Violation::to_string).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all.iter().all(|text| text.contains(words)), "{all:?}");
    }
}

#[test]
fn an_untouched_block_is_zeros() {
    Run::new().read(1, Z).holds();
    Run::new().read(1, w(9)).fails("never submitted");
}

#[test]
fn the_last_answered_write_is_seen() {
    Run::new().write(1).write(2).read(3, w(2)).holds();
    Run::new().write(1).read(2, Z).fails("overwritten");
    Run::new()
        .write(1)
        .write(2)
        .read(3, w(1))
        .fails("overwritten");
}

#[test]
fn damaged_data_is_noticed_in_the_block_where_it_is() {
    let mut run = Run::new();
    run.begin(1, Kind::Read, 1, 3)
        .end(1, &[Z, Seen::Damaged, Z]);
    run.fails("block 2: damaged");
}

#[test]
fn a_write_under_way_may_be_seen_or_not_but_does_not_come_and_go() {
    let begun = || {
        let mut run = Run::new();
        run.write(1).begin(2, Kind::Write, 0, 1);
        run
    };
    begun()
        .read(3, w(1))
        .read(4, w(2))
        .end(2, &[])
        .read(5, w(2))
        .holds();
    begun().read(3, w(2)).read(4, w(1)).fails("overwritten");
    begun().end(2, &[]).read(3, w(1)).fails("overwritten");
}

#[test]
fn writes_at_the_same_time_may_be_in_either_order() {
    let both = || {
        let mut run = Run::new();
        run.begin(1, Kind::Write, 0, 1).begin(2, Kind::Write, 0, 1);
        run.end(2, &[]).end(1, &[]);
        run
    };
    both().read(3, w(1)).read(4, w(1)).holds();
    both().read(3, w(2)).read(4, w(2)).holds();
    both().read(3, w(1)).read(4, w(2)).fails("overwritten");
    both().read(3, Z).fails("overwritten");
}

#[test]
fn reads_at_the_same_time_may_see_before_and_after() {
    let mut run = Run::new();
    run.begin(1, Kind::Read, 0, 1).begin(2, Kind::Read, 0, 1);
    run.begin(3, Kind::Write, 0, 1);
    run.end(1, &[w(3)]).end(2, &[Z]).end(3, &[]).holds();
    // A read that begins when the write has been seen is not at the same time.
    let mut run = Run::new();
    run.begin(3, Kind::Write, 0, 1).begin(1, Kind::Read, 0, 1);
    run.end(1, &[w(3)]).read(2, Z).fails("overwritten");
}

#[test]
fn a_read_may_see_what_was_written_while_it_was_under_way() {
    let mut run = Run::new();
    run.write(1)
        .begin(2, Kind::Read, 0, 1)
        .write(3)
        .write(4)
        .write(5);
    run.end(2, &[w(4)]).read(6, w(5)).holds();
}

#[test]
fn a_write_applied_again_after_a_later_one_is_noticed() {
    // As when it is sent a second time and taken for new.
    let mut run = Run::new();
    run.write(1)
        .write(2)
        .read(3, w(2))
        .read(4, w(1))
        .fails("overwritten");
}

#[test]
fn a_dead_clients_write_happened_or_never_does() {
    let dead = || {
        let mut run = Run::new();
        run.write(1).begin(2, Kind::Write, 0, 1).crash();
        run
    };
    dead().read(3, w(1)).read(4, w(1)).holds();
    dead().read(3, w(2)).read(4, w(2)).holds();
    dead().read(3, w(2)).read(4, w(1)).fails("overwritten");
    // It cannot come after the next client has been served.
    dead().read(3, w(1)).read(4, w(2)).fails("overwritten");
    dead().write(3).read(4, w(2)).fails("overwritten");
    // What was answered must be there.
    dead().read(3, Z).fails("overwritten");
}

#[test]
fn clearing_gives_zeros_and_discarding_may() {
    let mut run = Run::new();
    run.write(1).begin(2, Kind::Zero, 0, 2).end(2, &[]);
    run.read(3, Z).holds();
    run.read(4, w(1)).fails("overwritten");

    let discarded = || {
        let mut run = Run::new();
        run.write(1).begin(2, Kind::Discard, 0, 1).end(2, &[]);
        run
    };
    discarded().read(3, w(1)).holds();
    discarded().read(3, Z).read(4, Z).holds();
    discarded().read(3, Z).read(4, w(1)).fails("overwritten");
    discarded().write(3).read(4, Z).fails("overwritten");
}

#[test]
fn every_block_of_an_operation_is_its_own() {
    let mut run = Run::new();
    run.begin(1, Kind::Write, 0, 3).begin(2, Kind::Read, 0, 4);
    run.end(2, &[w(1), Z, w(1), Z]).end(1, &[]);
    run.begin(3, Kind::Read, 0, 4)
        .end(3, &[w(1), w(1), w(1), Z])
        .holds();
    run.begin(4, Kind::Read, 1, 2).end(4, &[w(1), Z]);
    run.fails("block 2");
}

#[test]
fn answers_have_to_fit_the_operations() {
    Run::new().write(1).end(1, &[]).fails("twice");
    let mut run = Run::new();
    run.begin(1, Kind::Read, 0, 2).end(1, &[Z]).fails("gave 1");
    let mut run = Run::new();
    run.begin(1, Kind::Flush, 0, 0)
        .feed(&Entry::Closed)
        .fails("without answers");
    let mut run = Run::new();
    run.begin(1, Kind::Write, 0, 1);
    let id = id(1);
    let error = "input/output error".into();
    run.feed(&Entry::Failed { id, error }).fails("input/output");
}

#[test]
fn what_can_be_seen_is_all_that_is_remembered() {
    let mut run = Run::new();
    for number in 1..2000 {
        run.write(number);
    }
    run.holds();
    assert!(format!("{:?}", run.model).len() < 20_000);
}

/// Any order of operations on a real register is let pass.
#[test]
fn a_register_never_violates() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut run = Run::new();
        let mut register = Z;
        let mut open: Vec<(u32, Kind, Option<Seen>)> = Vec::new();
        let mut number = 0;
        for _ in 0..400 {
            match rng.u32(..3) {
                0 if open.len() < 5 => {
                    number += 1;
                    let kinds = [Kind::Read, Kind::Write, Kind::Zero, Kind::Discard];
                    let kind = rng.choice(kinds).unwrap();
                    run.begin(number, kind, 0, 1);
                    open.push((number, kind, None));
                }
                1 if !open.is_empty() => {
                    let at = rng.usize(..open.len());
                    let (number, kind, effect) = &mut open[at];
                    if effect.is_none() {
                        match kind {
                            Kind::Write => register = w(*number),
                            Kind::Zero => register = Z,
                            Kind::Discard if rng.bool() => register = Z,
                            _ => {}
                        }
                        *effect = Some(register);
                    }
                }
                2 if rng.u32(..40) == 0 => {
                    open.clear();
                    run.crash();
                }
                _ => {
                    let done = open.iter().position(|(_, _, effect)| effect.is_some());
                    if let Some(at) = done {
                        let (number, kind, effect) = open.swap_remove(at);
                        let seen: Vec<Seen> = effect.into_iter().collect();
                        let seen = if kind == Kind::Read { &seen[..] } else { &[] };
                        run.end(number, seen);
                    }
                }
            }
        }
        run.holds();
    }
}
