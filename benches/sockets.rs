//! What the kernel takes of a server's processor time to move payload between a client and an OSD on the
//! same machine, by a relay that does nothing with it: what a server takes that has the bytes copied to it
//! and from it.
//!
//! This is processor time of the thread that relays, not time that passes.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use criterion::Criterion;
use rustix::time::{ClockId, clock_gettime};

use crate::subject::{Cost, LENGTHS, Subject, noise};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "sockets");
    for (len, text) in LENGTHS.into_iter().skip(1) {
        let source = noise(len);
        let mut copies = vec![0; len];
        let copy = subject.cost(&format!("copy {text}"), Some(len), || {
            copies.copy_from_slice(&source);
        });
        let limit = format!("one copy of {text}");
        let received = relay(&mut subject, &format!("tcp in {text}"), len, Way::In);
        subject.beside(&format!("receiving by TCP, {text}"), received, &limit, copy);
        let sent = relay(&mut subject, &format!("tcp out {text}"), len, Way::Out);
        subject.beside(&format!("sending by TCP, {text}"), sent, &limit, copy);
        let read = relay(&mut subject, &format!("read {text}"), len, Way::Read);
        subject.beside(&format!("TCP to Unix socket, {text}"), read, &limit, copy);
        let write = relay(&mut subject, &format!("write {text}"), len, Way::Write);
        subject.beside(&format!("Unix socket to TCP, {text}"), write, &limit, copy);
    }
    subject.finish();
}

/// Between which sockets the relay is.
#[derive(Clone, Copy)]
enum Way {
    /// From an OSD to nowhere, as a library reads.
    In,
    /// From nowhere to an OSD, as a library writes.
    Out,
    /// From an OSD to a client, as a server reads.
    Read,
    /// From a client to an OSD, as a server writes.
    Write,
}

/// What relaying `len` bytes takes, in buffers that go round as those of requests under way do.
fn relay(subject: &mut Subject<'_>, name: &str, len: usize, way: Way) -> Cost {
    let mut buffers = vec![noise(len); (IN_FLIGHT_BYTES / len).min(MAX_IN_FLIGHT)];
    subject.custom(name, Some(len), |times| {
        let mut source: Option<Box<dyn Read>> = match way {
            Way::In | Way::Read => Some(Box::new(fed(tcp_pair().unwrap(), len))),
            Way::Write => Some(Box::new(fed(UnixStream::pair().unwrap(), len))),
            Way::Out => None,
        };
        let mut sink: Option<Box<dyn Write>> = match way {
            Way::Out | Way::Write => Some(Box::new(drained(tcp_pair().unwrap(), len))),
            Way::Read => Some(Box::new(drained(UnixStream::pair().unwrap(), len))),
            Way::In => None,
        };
        let start = processor_time();
        for at in 0..times {
            let next = usize::try_from(at).unwrap() % buffers.len();
            let Some(buffer) = buffers.get_mut(next) else {
                break;
            };
            if let Some(source) = &mut source {
                source.read_exact(buffer).unwrap();
            }
            if let Some(sink) = &mut sink {
                sink.write_all(buffer).unwrap();
            }
        }
        processor_time().checked_sub(start).unwrap_or_default()
    })
}

/// The end of a connection that always has something to read.
fn fed<S: Read + Write + Send + 'static>((ours, mut theirs): (S, S), len: usize) -> S {
    // Ends when our end is dropped.
    thread::spawn(move || {
        let bytes = noise(len);
        while theirs.write_all(&bytes).is_ok() {}
    });
    ours
}

/// The end of a connection that takes whatever is written.
fn drained<S: Read + Write + Send + 'static>((ours, mut theirs): (S, S), len: usize) -> S {
    // Ends when our end is dropped.
    thread::spawn(move || {
        let mut bytes = vec![0; len];
        while matches!(theirs.read(&mut bytes), Ok(1..)) {}
    });
    ours
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true)?;
    }
    Ok((ours, theirs))
}

/// What this thread has had of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// Payload under way on one connection.
const IN_FLIGHT_BYTES: usize = 32 << 20;
/// Requests under way.
const MAX_IN_FLIGHT: usize = 32;
