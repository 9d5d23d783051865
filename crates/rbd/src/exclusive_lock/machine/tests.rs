//! Every state against every event, and what is remembered from one state to the next.

use denc::{EntityAddr, EntityName, GlobalId};
use rados::Errno;

use super::*;

fn locker() -> Locker {
    Locker {
        name: EntityName::client(GlobalId(7)),
        cookie: "auto 1".to_string(),
        addr: EntityAddr::default(),
        description: String::new(),
    }
}

fn error() -> Error {
    Error::Rados(rados::Error::Command {
        command: "osd blocklist".to_string(),
        errno: Errno::EACCES,
        status: String::new(),
    })
}

/// One letter each, in the order of the columns of the table.
fn states() -> Vec<State> {
    vec![
        State::Unlocked,
        State::Acquiring,
        State::Requesting(locker()),
        State::Waiting(Some(locker())),
        State::Opening,
        State::Locked,
        State::Suspended,
        State::Verifying,
        State::Forgetting,
        State::Releasing,
        State::Blocklisted(error()),
    ]
}

fn letter(state: &State) -> char {
    match state {
        State::Unlocked => 'U',
        State::Acquiring => 'A',
        State::Requesting(_) => 'Q',
        State::Waiting(_) => 'W',
        State::Opening => 'O',
        State::Locked => 'L',
        State::Suspended => 'S',
        State::Verifying => 'V',
        State::Forgetting => 'F',
        State::Releasing => 'R',
        State::Blocklisted(_) => 'B',
    }
}

/// In each state as it usually is: somebody waits unless the lock is held, given up or not wanted,
/// and the watch is what makes the state.
fn machine(state: State) -> Machine {
    let mut machine = Machine::new(LockPolicy::Cooperative);
    machine.wanted = matches!(
        state,
        State::Acquiring | State::Requesting(_) | State::Waiting(_) | State::Opening
    );
    if matches!(state, State::Suspended) {
        machine.watch = Watch::Lost;
    }
    machine.state = state;
    machine
}

/// The state afterwards and the actions, in words of a letter or a few.
fn step(machine: &mut Machine, event: Event) -> String {
    let actions = machine.handle(event);
    let mut text = letter(&machine.state).to_string();
    for action in actions {
        text.push(' ');
        text.push_str(match action {
            Action::Run(Job::Acquire) => "acquire",
            Action::Run(Job::Request(_)) => "request",
            Action::Run(Job::Pause(RETRY)) => "pause",
            Action::Run(Job::Pause(_)) => "pause-long",
            Action::Run(Job::Rest) => "rest",
            Action::Run(Job::Open) => "open",
            Action::Run(Job::Verify) => "verify",
            Action::Run(Job::Forget) => "forget",
            Action::Run(Job::Release { opened: true }) => "release",
            Action::Run(Job::Release { opened: false }) => "unlock",
            Action::Admit => "admit",
            Action::TellRefused(_) => "!refused",
            Action::TellFailed(_) => "!failed",
            Action::TellUnneeded => "!unneeded",
            Action::TellOwned(_) => "!owned",
            Action::TellReleased => "!released",
            Action::Accept => "yes",
            Action::Refuse => "no",
        });
    }
    text
}

fn after(machine: &mut Machine, events: &[Event]) -> String {
    let mut last = String::new();
    for event in events {
        last = step(machine, event.clone());
    }
    last
}

/// What becomes of each state, in the order of [`states`]; "" for nothing.
fn table() -> Vec<(Event, [&'static str; 11])> {
    let blocklisted = "B !failed !released";
    #[rustfmt::skip]
    let table = vec![
        //                            U            A             Q             W            O                    L              S                V                  F    R       B
        (Event::Wanted,              ["A acquire", "",           "",           "",          "",                  "L admit",     "",              "",                "",  "",     "B !failed"]),
        (Event::Unwanted,            ["",          "",           "U rest",     "U rest",    "",                  "",            "",              "",                "",  "",     ""]),
        (Event::ReleaseWanted,       ["U !released", "",         "Q !released", "W !released", "",               "R release",   "R release",     "",                "",  "",     "B !released"]),
        (Event::Admitted { pins: 0 }, ["",         "",           "",           "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Unpinned,            ["",          "",           "",           "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Requested,           ["",          "",           "",           "",          "O yes",             "R yes release", "R yes release", "V yes",         "",  "R yes", ""]),
        (Event::PeerAcquired,        ["",          "",           "A acquire",  "A acquire", "",                  "V verify",    "",              "",                "",  "",     ""]),
        (Event::PeerReleased,        ["",          "",           "A acquire",  "A acquire", "",                  "",            "",              "",                "",  "",     ""]),
        (Event::WatchLost,           ["",          "",           "",           "",          "",                  "S",           "",              "",                "",  "",     ""]),
        (Event::WatchRegained,       ["",          "",           "A acquire",  "A acquire", "",                  "V verify",    "V verify",      "",                "",  "",     ""]),
        (Event::Blocklisted(error()), [blocklisted, blocklisted, blocklisted,  blocklisted, blocklisted,         blocklisted,   blocklisted,     blocklisted,       blocklisted, blocklisted, ""]),
        (Event::PauseOver,           ["",          "",           "",           "A acquire", "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Taken,               ["",          "O open",     "",           "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Owned(locker()),     ["",          "Q !owned request", "",     "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Accepted,            ["",          "",           "W pause-long", "",        "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Refused,             ["",          "",           "U !refused", "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Silent,              ["",          "",           "W pause",    "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::TimedOut,            ["",          "",           "A acquire",  "",          "",                  "",            "",              "",                "",  "",     ""]),
        (Event::Opened,              ["",          "",           "",           "",          "L admit",           "",            "",              "",                "",  "",     ""]),
        (Event::Unneeded,            ["",          "",           "",           "",          "R !unneeded unlock", "",           "",              "",                "",  "",     ""]),
        (Event::Ours,                ["",          "",           "",           "",          "",                  "",            "",              "L admit",         "",  "",     ""]),
        (Event::NotOurs,             ["",          "",           "",           "",          "",                  "",            "",              "F forget",        "",  "",     ""]),
        (Event::Failed(error()),     ["",          "U !failed",  "",           "",          "R !failed unlock",  "",            "",              "S !failed pause", "",  "",     ""]),
        (Event::Forgotten,           ["",          "",           "",           "",          "",                  "",            "",              "",                "U", "",     ""]),
        (Event::Released,            ["",          "",           "",           "",          "",                  "",            "",              "",                "",  "U",    ""]),
    ];
    table
}

#[test]
fn every_state_and_every_event() {
    for (event, row) in table() {
        for (state, expected) in states().into_iter().zip(row) {
            let before = letter(&state).to_string();
            let mut machine = machine(state);
            let became = step(&mut machine, event.clone());
            let expected = if expected.is_empty() {
                &before
            } else {
                expected
            };
            assert_eq!(became, expected, "{event:?} in {before}");
        }
    }
}

/// Writers are let in in one state only, and only where nothing speaks against it.
#[test]
fn nobody_is_let_in_without_the_lock() {
    for state in states() {
        let is_locked = matches!(state, State::Locked);
        let mut machine = machine(state);
        assert_eq!(machine.is_open(), is_locked);
        machine.handle(Event::WatchLost);
        assert!(!machine.is_open());
        for event in table().into_iter().map(|(event, _)| event) {
            if !matches!(event, Event::WatchRegained) {
                machine.handle(event.clone());
                assert!(!machine.is_open(), "{event:?} in {:?}", machine.state);
            }
        }
    }
}

#[test]
fn a_request_is_honoured_once_those_who_wait_have_had_their_turn() {
    let mut machine = machine(State::Opening);
    assert_eq!(step(&mut machine, Event::Requested), "O yes");
    assert_eq!(step(&mut machine, Event::Opened), "L admit");
    assert_eq!(step(&mut machine, Event::Admitted { pins: 0 }), "R release");
    // Whoever comes now lets the other one take its turn.
    assert_eq!(step(&mut machine, Event::Wanted), "R");
    assert_eq!(step(&mut machine, Event::Released), "W pause");
    assert!(machine.owner().is_none());
    assert_eq!(step(&mut machine, Event::PeerAcquired), "A acquire");
    // The promise has been kept.
    let events = [Event::Taken, Event::Opened, Event::Admitted { pins: 0 }];
    assert_eq!(after(&mut machine, &events), "L");
}

#[test]
fn maintenance_is_not_interrupted() {
    let mut machine = machine(State::Locked);
    assert_eq!(step(&mut machine, Event::Admitted { pins: 2 }), "L");
    assert_eq!(step(&mut machine, Event::Requested), "L yes");
    assert_eq!(step(&mut machine, Event::ReleaseWanted), "L");
    assert_eq!(step(&mut machine, Event::Unpinned), "L");
    assert_eq!(step(&mut machine, Event::Unpinned), "R release");
    assert_eq!(step(&mut machine, Event::Released), "U !released");
}

#[test]
fn an_exclusive_owner_keeps_the_lock() {
    for state in states() {
        let mut machine = Machine {
            policy: LockPolicy::Exclusive,
            ..machine(state)
        };
        let before = letter(&machine.state);
        let expected = match before {
            'O' | 'L' | 'S' | 'V' => format!("{before} no"),
            // It is being given up anyway.
            'R' => "R yes".to_string(),
            other => other.to_string(),
        };
        assert_eq!(step(&mut machine, Event::Requested), expected);
    }
}

#[test]
fn a_regained_watch_is_worth_nothing_if_it_is_lost_again() {
    let mut machine = machine(State::Locked);
    let events = [Event::WatchLost, Event::WatchRegained, Event::WatchLost];
    assert_eq!(after(&mut machine, &events), "V");
    assert_eq!(step(&mut machine, Event::Ours), "S");
    assert_eq!(step(&mut machine, Event::WatchRegained), "V verify");
    // And once more while it is looked up.
    let events = [Event::WatchLost, Event::WatchRegained];
    assert_eq!(after(&mut machine, &events), "V");
    assert_eq!(step(&mut machine, Event::Ours), "V verify");
    assert_eq!(step(&mut machine, Event::Ours), "L admit");
}

#[test]
fn a_watch_lost_while_the_lock_is_taken_is_made_up_for() {
    let mut machine = machine(State::Acquiring);
    let events = [Event::WatchLost, Event::Taken, Event::Opened];
    assert_eq!(after(&mut machine, &events), "S");
    assert_eq!(step(&mut machine, Event::WatchRegained), "V verify");
    assert_eq!(step(&mut machine, Event::NotOurs), "F forget");
    assert_eq!(step(&mut machine, Event::Forgotten), "A acquire");
}

#[test]
fn nobody_without_a_watch_takes_the_lock() {
    let mut machine = machine(State::Waiting(Some(locker())));
    assert_eq!(step(&mut machine, Event::WatchLost), "W");
    assert_eq!(step(&mut machine, Event::PauseOver), "U");
    assert_eq!(step(&mut machine, Event::Wanted), "U");
    assert_eq!(step(&mut machine, Event::WatchRegained), "A acquire");
}

#[test]
fn a_lock_that_changed_hands_while_it_was_looked_at_is_looked_at_again() {
    for change in [
        Event::PeerReleased,
        Event::PeerAcquired,
        Event::WatchRegained,
    ] {
        let mut machine = machine(State::Acquiring);
        assert_eq!(step(&mut machine, change), "A");
        let owned = Event::Owned(locker());
        assert_eq!(step(&mut machine, owned.clone()), "A acquire");
        assert_eq!(step(&mut machine, owned), "Q !owned request");
    }
}

#[test]
fn the_owner_is_not_bothered_when_nobody_waits_any_more() {
    let mut machine = machine(State::Acquiring);
    assert_eq!(step(&mut machine, Event::Unwanted), "A");
    assert_eq!(step(&mut machine, Event::Owned(locker())), "U");
}

#[test]
fn a_release_ends_even_where_there_is_nothing_to_release() {
    let ends = [
        (Event::Owned(locker()), "Q !released !owned request"),
        (Event::Failed(error()), "U !failed !released"),
    ];
    for (outcome, expected) in ends {
        let mut machine = machine(State::Acquiring);
        assert_eq!(step(&mut machine, Event::ReleaseWanted), "A");
        assert_eq!(step(&mut machine, outcome), expected);
    }
    let mut machine = machine(State::Forgetting);
    assert_eq!(step(&mut machine, Event::ReleaseWanted), "F");
    assert_eq!(step(&mut machine, Event::Forgotten), "U !released");
}

#[test]
fn what_cannot_be_verified_is_tried_again() {
    let mut machine = machine(State::Verifying);
    let failed = Event::Failed(error());
    assert_eq!(step(&mut machine, failed.clone()), "S !failed pause");
    assert_eq!(step(&mut machine, Event::Wanted), "S");
    assert_eq!(step(&mut machine, Event::PauseOver), "V verify");
    assert_eq!(step(&mut machine, Event::ReleaseWanted), "V");
    assert_eq!(step(&mut machine, failed), "R !failed pause release");
}

#[test]
fn another_owner_is_believed_only_if_the_cluster_says_so_too() {
    let mut machine = machine(State::Opening);
    let events = [Event::PeerAcquired, Event::Opened];
    assert_eq!(after(&mut machine, &events), "V verify");
    assert_eq!(step(&mut machine, Event::PeerAcquired), "V");
    assert_eq!(step(&mut machine, Event::Ours), "V verify");
    assert_eq!(step(&mut machine, Event::Ours), "L admit");
}
