//! Every state of an operation and everything that can happen in it.

use std::net::SocketAddr;
use std::time::Duration;

use denc::{OsdId, PoolId};
use tokio::net::TcpStream;

use super::encode::{Change, Request};
use super::events::{flags, with_pool};
use super::peer::Conn;
use super::world::{Call, NO_POOL, POOL, World, pass, play};
use crate::osdmap::{MapFlags, PoolFlags};
use crate::{Operation, ReadPolicy};

/// What becomes of an operation in a state (a column) when something happens (a row):
///
/// - `.` cannot happen;
/// - `=` nothing is sent, the operation stays;
/// - `a1` goes to osd.0 (b: osd.1, c: osd.2) as attempt 1, counted from 0;
/// - `ok` has its answer;
/// - `eio`, `gone` (no pool), `list` (blocklisted), `time` (deadline), `shut` (shut down): ends so;
/// - `drop` is forgotten, `kept` is seen through although nobody waits for it;
/// - `late` ends with its deadline for whoever waits, and is seen through all the same.
const CELLS: &str = "
              nomap homeless nopool connecting sent blocked held paused stopped full redirected deadline replica
answer        .     .        .      .          ok   ok      .    .      ok      .    ok         ok       ok
older-answer  .     .        .      .          =    =       .    .      .       .    =          =        =
again         .     .        .      .          a1   =       .    .      =       .    b2         a1       a1
redirect      .     .        .      .          b1   b1      .    .      =       .    b2         b1       a1
block         .     .        .      .          =    =       =    .      =       .    =          =        =
unblock       .     .        .      .          =    a1      a0   =      =       =    =          =        =
lost          .     .        .      a0         a1   a1      a0   =      =       =    b2         a1       b1
refused       .     .        .      a0         a1   a1      a0   =      =       =    b2         late     b1
accepted      .     .        .      a0         .    .       .    .      .       .    .          .        .
same          =     =        =      =          =    =       =    =      =       =    =          =        =
up            =     a0       =      =          =    =       =    =      =       =    =          =        =
moved         =     =        =      b0         b1   b1      b0   =      =       =    =          b1       a1
replicas      =     =        =      =          =    =       =    =      =       =    =          =        c1
down          =     =        =      b0         b1   b1      b0   =      =       =    =          b1       b1
address       =     a0       =      a0         a1   a1      a0   =      =       =    =          a1       =
split         =     =        =      =          a1   =       =    =      =       =    =          a1       b1
forced        =     =        =      =          a1   =       =    =      =       =    =          a1       b1
there-and-back =    =        =      =          a1   =       =    =      =       =    =          a1       b1
pause         =     =        =      =          =    =       =    =      =       =    =          =        =
unpause       =     =        =      =          =    =       =    a0     a1      =    =          =        =
full          =     =        =      =          =    =       =    =      =       =    =          =        =
cluster-full  =     =        =      =          =    =       =    =      =       =    =          =        =
room          =     =        =      =          =    =       =    =      =       a0   =          =        =
full-and-room =     =        =      =          a1   =       =    =      =       a0   =          a1       =
tier          =     =        =      b0         b1   b1      b0   =      =       =    =          b1       a1
eio           =     eio      =      eio        eio  eio     eio  eio    eio     eio  =          eio      eio
skipped       a0    =        =      =          a1   =       =    =      =       =    b2         a1       b1
gap           =     =        =      =          =    =       =    =      =       =    =          =        =
damaged       =     =        =      =          =    =       =    =      =       =    =          =        =
deleted       =     gone     =      gone       gone gone    gone gone   gone    gone =          gone     gone
newest        =     =        gone   =          =    =       =    =      =       =    =          =        =
blocklisted   =     list     list   list       list list    list list   list    list list       list     list
cancelled     drop  drop     drop   drop       kept kept    drop drop   kept    drop kept       kept     drop
later         =     =        =      =          =    =       =    =      =       =    =          late     =
shut-down     shut  shut     shut   shut       shut shut    shut shut   shut    shut shut       shut     shut
";

/// An operation in a state.
pub(super) struct Cell {
    pub(super) world: World,
    pub(super) call: Call,
    /// The OSD that it is at, or is to be sent to.
    pub(super) at: usize,
    pub(super) conn: Option<Conn>,
    /// What the OSD got of it last.
    pub(super) request: Option<Request>,
    /// What it got of it because of what happened.
    pub(super) news: Option<Request>,
    /// A connection that waits to be let in.
    pub(super) arrived: Option<(TcpStream, SocketAddr)>,
}

#[test]
fn every_state_meets_every_event() {
    let mut lines = CELLS.lines().filter(|line| !line.is_empty());
    let states: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        let mut words = line.split_whitespace();
        let event = words.next().unwrap();
        for state in &states {
            let expected = words.next().unwrap();
            count += 1;
            if let Err(found) = run(state, event, expected) {
                wrong.push(format!(
                    "{state} {event}: expected {expected}, found {found}"
                ));
            }
        }
        assert_eq!(words.next(), None, "{event}");
    }
    assert!(wrong.is_empty(), "{} of {count}: {wrong:#?}", wrong.len());
}

/// Plays one cell; gives what happened instead of what was expected.
fn run(state: &str, event: &str, expected: &str) -> Result<(), String> {
    let playing = std::panic::AssertUnwindSafe(|| {
        play(async {
            let mut cell = Cell::new(state).await;
            match (cell.happens(event).await, expected) {
                (false, ".") => return Ok(()),
                (false, _) => return Err(".".to_string()),
                (true, ".") => return Err("it can happen".to_string()),
                _ => {}
            }
            cell.check(expected).await?;
            cell.end(expected).await
        })
    });
    match std::panic::catch_unwind(playing) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "a panic".to_string()))
        }
    }
}

fn write() -> Operation {
    Operation::new().write(0, vec![7; 5000])
}

impl Cell {
    async fn new(state: &str) -> Self {
        match state {
            "nomap" => Self::waiting(World::without_map().await, POOL).await,
            "homeless" => {
                let mut world = World::new().await;
                let down = (0..3).map(|osd| (OsdId(osd), 0)).collect();
                world.change(&Change {
                    states: down,
                    ..Change::default()
                });
                Self::waiting(world, POOL).await
            }
            "nopool" => Self::waiting(World::new().await, NO_POOL).await,
            "connecting" => Self::waiting(World::new().await, POOL).await,
            "sent" => Self::sent(World::new().await, write(), 0).await,
            "blocked" => {
                let mut cell = Self::sent(World::new().await, write(), 0).await;
                cell.happens("block").await;
                cell
            }
            "held" => Self::held().await,
            "paused" => {
                let mut world = World::new().await;
                world.change(&flags(MapFlags::PAUSEWR | MapFlags::PAUSERD));
                Self::kept_back(world).await
            }
            "stopped" => {
                let mut cell = Self::sent(World::new().await, write(), 0).await;
                cell.happens("pause").await;
                cell
            }
            "full" => {
                let mut world = World::new().await;
                let full = with_pool(&world, |pool| {
                    pool.flags = pool.flags | PoolFlags::FULL | PoolFlags::FULL_QUOTA;
                });
                world.change(&full);
                Self::kept_back(world).await
            }
            "redirected" => {
                let mut cell = Self::sent(World::new().await, write(), 0).await;
                cell.happens("redirect").await;
                cell.at = 1;
                cell.conn = Some(cell.world.peers[1].accept().await);
                cell.request = cell.conn.as_mut().unwrap().request().await;
                cell
            }
            "deadline" => {
                let world = World::new().await;
                world.objecter.set_timeout(Some(Duration::from_secs(5)));
                let cell = Self::sent(world, write(), 0).await;
                pass(Duration::from_secs(4)).await;
                cell
            }
            "replica" => {
                let world = World::new().await;
                world.choose_second_of_two();
                let read = Operation::new().read(0, 1).read_from(ReadPolicy::Balance);
                Self::sent(world, read, 1).await
            }
            other => panic!("{other}"),
        }
    }

    /// An operation that has been submitted, whatever that leads to.
    async fn waiting(world: World, pool: PoolId) -> Self {
        let call = world.submit(pool, write()).await;
        Self {
            world,
            call,
            at: 0,
            conn: None,
            request: None,
            news: None,
            arrived: None,
        }
    }

    /// An operation that an OSD has got.
    async fn sent(world: World, operation: Operation, at: usize) -> Self {
        let call = world.submit(POOL, operation).await;
        let mut conn = world.peers[at].accept().await;
        let request = conn.request().await;
        Self {
            world,
            call,
            at,
            conn: Some(conn),
            request,
            news: None,
            arrived: None,
        }
    }

    /// An operation that is not sent although there is a connection.
    async fn kept_back(world: World) -> Self {
        let call = world.submit(POOL, write()).await;
        let conn = world.peers[0].accept().await;
        Self {
            world,
            call,
            at: 0,
            conn: Some(conn),
            request: None,
            news: None,
            arrived: None,
        }
    }

    /// An operation on a group for which the OSD has asked for none before.
    async fn held() -> Self {
        let mut cell = Self::sent(World::new().await, write(), 0).await;
        cell.happens("block").await;
        cell.happens("answer").await;
        cell.call.await.unwrap().unwrap();
        cell.call = cell.world.submit(POOL, write()).await;
        cell.request = None;
        cell
    }
}
