//! How `orbd serve` ends, with its cluster there and without it, gracefully, by force and by `SIGKILL`.
//!
//! Needs the packages that `minicluster` starts clusters from, and libnbd for Python.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::place::{Place, Server, signal, tool};

const BLOCK: usize = 4096;
/// What nothing in these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A Python script that talks to a server with a libnbd handle `h`, and what it prints.
struct Script {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Script {
    fn start(address: &str, script: &str) -> Self {
        // The distribution's Python has the distribution's libnbd.
        let mut child = Command::new("/usr/bin/python3")
            .args(["-u", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let script =
            format!("import nbd, sys\nh = nbd.NBD()\nh.connect_uri('{address}')\n{script}");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn expect(&mut self, line: &str) {
        assert_eq!(self.lines.next().unwrap().unwrap(), line);
    }

    /// The lines that are left.
    fn finish(mut self) -> Vec<String> {
        let lines = self.lines.by_ref().map(Result::unwrap).collect();
        self.child.wait().unwrap();
        lines
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three writes, and a request that is refused without asking the cluster, after which the writes are known to be under way.
const THREE_WRITES: &str = "
h.set_strict_mode(0)
results = {}
def note(number):
    def done(error):
        results[number] = error.value
        return 1
    return done
for number in range(3):
    h.aio_pwrite(bytes([number + 1]) * 4096, number * 8192, completion=note(number))
try:
    h.pwrite(bytes(512), h.get_size())
except nbd.Error:
    print('under way')
try:
    while len(results) < 3:
        h.poll(-1)
except nbd.Error:
    pass
print(' '.join(str(results.get(number)) for number in range(3)))
";

fn serve(place: &Place, options: &[&str]) -> (Server, String) {
    let socket = place.path("socket");
    let mut command =
        place.command(&[&["serve", "disk", "--socket", &socket][..], options].concat());
    command.stderr(Stdio::piped());
    let (server, _) = Server::start(command);
    (server, format!("nbd+unix:///?socket={socket}"))
}

/// Waits for a server to end, and gives its status and what it said.
fn end(mut server: Server) -> (Option<i32>, String) {
    let stderr = server.0.stderr.take().unwrap();
    let said = std::io::read_to_string(stderr).unwrap();
    (server.0.wait().unwrap().code(), said)
}

#[test]
fn a_server_that_is_told_to_end_answers_or_says_what_it_dropped() {
    let place = Place::new();
    place.works(&["create", "--size", "4", "disk"]);

    // Requests under way are answered, however long that takes.
    let (server, address) = serve(&place, &[]);
    place.pause(true);
    let mut script = Script::start(&address, THREE_WRITES);
    script.expect("under way");
    signal(server.pid(), "TERM");
    place.pause(false);
    assert_eq!(script.finish(), ["0 0 0"]);
    assert_eq!(end(server), (Some(0), String::new()));
    let exported = place.exported("disk");
    for number in 0..3_u8 {
        let start = usize::from(number) * 2 * BLOCK;
        assert!(
            exported[start..start + BLOCK]
                .iter()
                .all(|byte| *byte == number + 1)
        );
    }

    // Without the cluster, only so long.
    let (server, address) = serve(&place, &["--stop-timeout", "1"]);
    place.pause(true);
    let mut script = Script::start(&address, THREE_WRITES);
    script.expect("under way");
    let began = Instant::now();
    signal(server.pid(), "TERM");
    assert_eq!(script.finish(), ["108 108 108"]);
    let (status, said) = end(server);
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("3 writes (12288 bytes)"), "{said}");
    assert!(began.elapsed() < LIMIT);
    place.pause(false);

    // A second signal does not wait.
    let (server, address) = serve(&place, &["--stop-timeout", "1000"]);
    place.pause(true);
    let mut script = Script::start(&address, THREE_WRITES);
    script.expect("under way");
    signal(server.pid(), "TERM");
    // The socket goes when the first one has been heard.
    until(|| !is_listening(&place.path("socket")));
    signal(server.pid(), "TERM");
    assert_eq!(script.finish(), ["108 108 108"]);
    let (status, said) = end(server);
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("3 writes (12288 bytes)"), "{said}");

    // Without requests there is nothing to lose, cluster or not.
    place.pause(false);
    let (server, _) = serve(&place, &[]);
    place.pause(true);
    signal(server.pid(), "INT");
    let (status, said) = end(server);
    assert_eq!(status, Some(0), "{said}");
    place.pause(false);
    place.cluster.destroy().unwrap();
}

fn is_listening(socket: &str) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes blocks here and there, each full of its number, flushes every few, and says which are flushed.
const JOURNALLED_WRITES: &str = "
import random
random.seed(7)
blocks = h.get_size() // 4096
pending = []
number = 0
def ended(error):
    if error.value != 0:
        sys.exit('a write failed')
    return 1
try:
    while True:
        # Two writes of the same block at the same time may leave either.
        for block in random.sample(range(blocks), 8):
            number += 1
            h.aio_pwrite(number.to_bytes(8, 'little') * 512, block * 4096, completion=ended)
            pending.append((block, number))
        while h.aio_in_flight() > 0:
            h.poll(-1)
        h.flush()
        for block, written in pending:
            print(block, written)
        print('flushed')
        pending = []
except (nbd.Error, BrokenPipeError):
    pass
";

#[test]
fn a_killed_server_has_lost_nothing_that_was_flushed() {
    let place = Place::new();
    for (round, flushes) in [3, 40, 171].into_iter().enumerate() {
        place.works(&["create", "--size", "4", "disk"]);
        let (mut server, address) = serve(&place, &[]);
        let mut script = Script::start(&address, JOURNALLED_WRITES);
        let mut flushed = vec![0_u64; 1024];
        let mut note = |line: &str| match line.split_once(' ') {
            Some((block, number)) => {
                let block: usize = block.parse().unwrap();
                flushed[block] = number.parse().unwrap();
                false
            }
            None => true,
        };
        let mut count = 0;
        while count < flushes {
            let line = script.lines.next().unwrap().unwrap();
            count += usize::from(note(&line));
        }
        signal(server.pid(), "KILL");
        server.0.wait().unwrap();
        for line in script.finish() {
            note(&line);
        }
        let exported = place.exported("disk");
        let mut compared = 0;
        for (block, number) in flushed
            .iter()
            .enumerate()
            .filter(|(_, number)| **number > 0)
        {
            let start = block * BLOCK;
            let there = u64::from_le_bytes(exported[start..start + 8].try_into().unwrap());
            // What was written later may be there as well.
            assert!(
                there >= *number,
                "round {round}, block {block}: {there} < {number}"
            );
            let whole = there.to_le_bytes().repeat(BLOCK / 8);
            assert!(
                exported[start..start + BLOCK] == whole,
                "round {round}, block {block}"
            );
            compared += 1;
        }
        assert!(compared >= flushes.min(100), "{compared}");
        // The OSD still sees a watcher for a while, which would keep the image from being removed.
        place.works(&["rename", "disk", &format!("killed-{round}")]);
    }
    place.cluster.destroy().unwrap();
}

#[test]
fn new_clients_are_told_the_new_size() {
    let place = Place::new();
    place.works(&["create", "--size", "4", "disk"]);
    let (server, address) = serve(&place, &[]);
    let size = || tool("nbdinfo", &["--size", &address]).trim().to_owned();
    assert_eq!(size(), "4194304");
    place
        .cluster
        .rbd(&["resize", "--size", "7", "--no-progress", "disk"])
        .unwrap();
    until(|| size() == "7340032");
    let shrink = [
        "resize",
        "--size",
        "5",
        "--allow-shrink",
        "--no-progress",
        "disk",
    ];
    place.works(&shrink);
    until(|| size() == "5242880");
    server.stop();
    place.cluster.destroy().unwrap();
}
