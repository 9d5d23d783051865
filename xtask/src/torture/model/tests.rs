//! What the model has to let pass, and what it has to notice.

use super::*;

const Z: Seen = Seen::Zeros;

fn w(number: u32) -> Seen {
    Seen::Write(id(number))
}

/// Of the first client.
fn id(number: u32) -> OpId {
    OpId::new(1, number)
}

/// Of the second one.
fn other(number: u32) -> OpId {
    OpId::new(2, number)
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
        self.submit(id(number), kind, first, count)
    }

    fn submit(&mut self, id: OpId, kind: Kind, first: u64, count: u64) -> &mut Self {
        self.feed(&Entry::Submitted {
            id,
            kind,
            first,
            count,
        })
    }

    fn done(&mut self, id: OpId, seen: &[Seen]) -> &mut Self {
        let seen = seen.to_vec();
        self.feed(&Entry::Done { id, seen })
    }

    fn open(&mut self, generation: u32) -> &mut Self {
        self.feed(&Entry::Opened {
            generation,
            address: None,
        })
    }

    /// The second client writes.
    fn other_writes(&mut self, number: u32) -> &mut Self {
        self.submit(other(number), Kind::Write, 0, 1)
            .done(other(number), &[])
    }

    /// The second client reads.
    fn other_reads(&mut self, number: u32, seen: Seen) -> &mut Self {
        self.submit(other(number), Kind::Read, 0, 1)
            .done(other(number), &[seen])
    }

    fn end(&mut self, number: u32, seen: &[Seen]) -> &mut Self {
        self.done(id(number), seen)
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
        self.model.shut_out(1);
        self
    }

    fn kill(&mut self) -> &mut Self {
        self.model.kill(1);
        self
    }

    fn fence(&mut self) -> &mut Self {
        self.model.fence(1);
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
fn clients_see_each_others_writes() {
    let o = |number| Seen::Write(other(number));
    let mut run = Run::new();
    run.write(1).other_reads(1, w(1)).other_writes(2);
    run.read(2, o(2)).write(3).other_reads(3, w(3)).holds();
    run.read(4, o(2)).fails("overwritten");
    // What one of them has closed is not what the other has under way.
    let mut run = Run::new();
    run.begin(1, Kind::Write, 0, 1);
    run.feed(&Entry::Closed { generation: 2 }).holds();
    run.feed(&Entry::Closed { generation: 1 })
        .fails("without answers");
}

#[test]
fn a_killed_clients_write_happens_until_another_has_its_lock() {
    let killed = || {
        let mut run = Run::new();
        run.write(1).begin(2, Kind::Write, 0, 1);
        run.submit(other(1), Kind::Write, 1, 1).kill();
        run
    };
    // Nobody has shut it out yet.
    killed().other_reads(2, w(1)).other_reads(3, w(2)).holds();
    killed()
        .other_reads(2, w(2))
        .other_reads(3, w(1))
        .fails("overwritten");
    // A change that was submitted before says nothing, one that was submitted later does.
    let mut run = killed();
    run.done(other(1), &[]);
    run.other_reads(2, w(1)).other_reads(3, w(2)).holds();
    let moved = || {
        let mut run = killed();
        run.done(other(1), &[]).submit(other(9), Kind::Zero, 2, 1);
        run.done(other(9), &[]);
        run
    };
    moved().other_reads(2, w(2)).other_reads(3, w(2)).holds();
    moved().other_reads(2, w(1)).other_reads(3, w(1)).holds();
    moved()
        .other_reads(2, w(1))
        .other_reads(3, w(2))
        .fails("overwritten");
    moved()
        .other_writes(2)
        .other_reads(3, w(2))
        .fails("overwritten");
    // A read says nothing of the lock, and neither does another dead one's write.
    let mut run = killed();
    run.other_reads(2, w(1)).model.kill(2);
    run.other_reads(3, w(1)).other_reads(4, w(2)).holds();
}

#[test]
fn nothing_that_a_client_submits_after_it_was_shut_out_is_seen() {
    let fenced = || {
        let mut run = Run::new();
        run.write(1)
            .begin(2, Kind::Write, 0, 1)
            .other_writes(1)
            .fence();
        run
    };
    let o = Seen::Write(other(1));
    // What it had submitted before, it may be told later.
    fenced().end(2, &[]).other_reads(2, o).holds();
    fenced().other_reads(2, w(2)).other_reads(3, w(2)).holds();
    fenced()
        .other_writes(2)
        .other_reads(3, w(2))
        .fails("overwritten");
    fenced()
        .feed(&Entry::Refused { id: id(2) })
        .other_reads(2, o)
        .holds();
    let late = || {
        let mut run = fenced();
        run.begin(3, Kind::Write, 0, 1);
        run
    };
    late()
        .feed(&Entry::Refused { id: id(3) })
        .other_reads(2, o)
        .holds();
    late().other_reads(2, w(3)).fails("never submitted");
    late().end(3, &[]).fails("had been shut out");
    // Not refused, but failed otherwise.
    let error = "no such pool".into();
    late()
        .feed(&Entry::Failed { id: id(3), error })
        .fails("no such pool");
    let mut run = fenced();
    run.begin(3, Kind::Read, 0, 1).end(3, &[o]);
    run.fails("had been shut out");
    // Where it thinks that nothing is, it need not ask.
    let mut run = fenced();
    run.begin(3, Kind::Read, 2, 1).end(3, &[Z]);
    run.begin(4, Kind::Discard, 0, 1).end(4, &[]);
    run.other_reads(2, o).kill().other_reads(3, o).holds();
}

#[test]
fn hand_overs_are_between_the_living() {
    let mut run = Run::new();
    run.open(1).open(2);
    run.write(1).write(2).other_writes(1).write(3);
    assert_eq!(run.model.hand_overs(), 2);
    let since = run.model.now();
    assert!(!run.model.has_changed_since(since, 1));
    run.submit(other(2), Kind::Write, 0, 1);
    let later = run.model.now();
    run.done(other(2), &[]);
    assert!(run.model.has_changed_since(since, 1));
    assert!(!run.model.has_changed_since(since, 2));
    assert!(!run.model.has_changed_since(later, 1));
    assert_eq!(run.model.hand_overs(), 3);
    run.write(4).kill().other_writes(3).holds();
    assert_eq!(run.model.hand_overs(), 4);
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
        .feed(&Entry::Closed { generation: 1 })
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

/// Any order of operations on a real register is let pass, also those of two clients one of which is
/// killed.
#[test]
fn a_register_never_violates() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut run = Run::new();
        let mut register = Z;
        let mut open: Vec<(OpId, Kind, Option<Seen>)> = Vec::new();
        let mut number = 0;
        for _ in 0..400 {
            match rng.u32(..3) {
                0 if open.len() < 5 => {
                    number += 1;
                    let kinds = [Kind::Read, Kind::Write, Kind::Zero, Kind::Discard];
                    let kind = rng.choice(kinds).unwrap();
                    let id = OpId::new(rng.u32(1..3), number);
                    run.submit(id, kind, 0, 1);
                    open.push((id, kind, None));
                }
                1 if !open.is_empty() => {
                    let at = rng.usize(..open.len());
                    let (id, kind, effect) = &mut open[at];
                    if effect.is_none() {
                        match kind {
                            Kind::Write => register = Seen::Write(*id),
                            Kind::Zero => register = Z,
                            Kind::Discard if rng.bool() => register = Z,
                            _ => {}
                        }
                        *effect = Some(register);
                    }
                }
                2 if rng.u32(..40) == 0 => {
                    let generation = rng.u32(1..3);
                    open.retain(|(id, ..)| id.generation() != generation);
                    if rng.bool() {
                        run.model.kill(generation);
                    } else {
                        run.model.shut_out(generation);
                    }
                }
                _ => {
                    let done = open.iter().position(|(_, _, effect)| effect.is_some());
                    if let Some(at) = done {
                        let (id, kind, effect) = open.swap_remove(at);
                        let seen: Vec<Seen> = effect.into_iter().collect();
                        let seen = if kind == Kind::Read { &seen[..] } else { &[] };
                        run.done(id, seen);
                    }
                }
            }
        }
        run.holds();
    }
}
