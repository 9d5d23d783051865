//! What stands between the client and a peer in tests, and what it can do to their connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes on what is said to an address and from there.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    /// Carries all connections.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    /// What is to happen to the next connections, one after the other; nothing to those after them.
    plans: Mutex<VecDeque<Plan>>,
    /// Whether nothing is passed on, in no direction of any connection.
    is_stalled: watch::Sender<bool>,
    /// Grows whenever all connections are to end.
    endings: watch::Sender<u64>,
    /// How many plans have been carried out.
    struck: AtomicU64,
    connections: AtomicU64,
    /// How many bytes have been passed on, in each direction.
    passed: [AtomicU64; 2],
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToPeer, Self::ToClient];
}

/// What is to happen to a connection when more than so many bytes are said in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) direction: Direction,
    pub(crate) after: usize,
    pub(crate) harm: Harm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToPeer,
    ToClient,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    /// Both ends are told that the connection has ended.
    Close,
    /// As if the other machine knew nothing of the connection.
    Reset,
    /// This bit of the next byte is flipped.
    Flip(u8),
    /// Nothing is said any more, in this direction.
    Stall,
}

impl Relay {
    /// Listens at an address of its own.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            plans: Mutex::default(),
            is_stalled: watch::Sender::new(false),
            endings: watch::Sender::new(0),
            passed: Default::default(),
            struck: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            addr,
            shared,
            _tasks: tasks,
        }
    }

    /// Has this happen to the connection after those that something is planned for.
    pub(crate) fn plan(&self, plan: Plan) {
        self.shared.plans.lock().unwrap().push_back(plan);
    }

    /// Ends the connections there are, as a peer does that is killed.
    pub(crate) fn end_connections(&self) {
        self.shared.endings.send_modify(|endings| *endings += 1);
    }

    /// Passes nothing on any more, or goes on where it has ended.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.shared.is_stalled.send_replace(is_stalled);
    }

    /// How many plans have been carried out.
    pub(crate) fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// How many bytes have been passed on in this direction.
    pub(crate) fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::Relaxed)
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let endings = shared.endings.subscribe();
        connections.spawn(carry(client, endings, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, mut endings: watch::Receiver<u64>, shared: Arc<Shared>) {
    let Ok(peer) = TcpStream::connect(shared.to).await else {
        // As the peer's own machine would have said.
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &peer] {
        stream.set_nodelay(true).unwrap();
    }
    let plan = shared.plans.lock().unwrap().pop_front();
    let (from_client, to_client) = client.into_split();
    let (from_peer, to_peer) = peer.into_split();
    let mut there = Pump::new(Direction::ToPeer, from_client, to_peer, plan, &shared);
    let mut back = Pump::new(Direction::ToClient, from_peer, to_client, plan, &shared);
    // One end that has gone takes the other with it.
    let ending = tokio::select! {
        ending = there.run() => ending,
        ending = back.run() => ending,
        _ = endings.changed() => Ending::Reset,
    };
    if matches!(ending, Ending::Reset) {
        for half in [&there.to, &back.to] {
            let _ = half.as_ref().set_zero_linger();
        }
    }
}

enum Ending {
    Closed,
    Reset,
}

struct Pump<'a> {
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    plan: Option<Plan>,
    passed: usize,
    shared: &'a Shared,
}

impl<'a> Pump<'a> {
    fn new(
        direction: Direction,
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
        plan: Option<Plan>,
        shared: &'a Shared,
    ) -> Self {
        Self {
            direction,
            from,
            to,
            plan: plan.filter(|plan| plan.direction == direction),
            passed: 0,
            shared,
        }
    }

    async fn run(&mut self) -> Ending {
        let mut is_stalled = self.shared.is_stalled.subscribe();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok(count @ 1..) = self.from.read(&mut buffer).await else {
                return Ending::Closed;
            };
            let _ = is_stalled.wait_for(|is_stalled| !is_stalled).await;
            if let Err(ending) = self.pass(&mut buffer[..count]).await {
                return ending;
            }
        }
    }

    async fn pass(&mut self, bytes: &mut [u8]) -> Result<(), Ending> {
        let Some(plan) = self
            .plan
            .filter(|plan| plan.after < self.passed + bytes.len())
        else {
            return self.write(bytes).await;
        };
        self.plan = None;
        let (before, rest) = bytes.split_at_mut(plan.after - self.passed);
        self.write(before).await?;
        self.shared.struck.fetch_add(1, Ordering::Relaxed);
        match plan.harm {
            Harm::Close => Err(Ending::Closed),
            Harm::Reset => Err(Ending::Reset),
            Harm::Flip(bit) => {
                rest[0] ^= 1 << bit;
                self.write(rest).await
            }
            Harm::Stall => std::future::pending().await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        self.passed += bytes.len();
        self.shared.passed[self.direction as usize]
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.to.write_all(bytes).await.map_err(|_| Ending::Closed)
    }
}
