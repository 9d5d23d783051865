//! The NBD server and clients that do what they should not, or seldom do.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use mapper::device::memory::{MemoryDevice, Operation};
use mapper::device::{DeviceError, Limits};
use mapper::nbd::{ServerOptions, TransmissionOptions};
use support::{MIB, TestServer, nbdsh, succeed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A client that sends whatever it wants. It has chosen `disk` without structured replies.
async fn raw_client(server: &TestServer) -> UnixStream {
    let mut socket = UnixStream::connect(&server.socket).await.unwrap();
    socket.read_exact(&mut [0; 18]).await.unwrap();
    let mut hello = 3u32.to_be_bytes().to_vec();
    hello.extend(b"IHAVEOPT\0\0\0\x01\0\0\0\x04disk");
    socket.write_all(&hello).await.unwrap();
    socket.read_exact(&mut [0; 10]).await.unwrap();
    socket
}

fn request(command: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// The error and cookie of a simple reply.
async fn simple_reply(socket: &mut UnixStream) -> (u32, u64) {
    assert_eq!(socket.read_u32().await.unwrap(), 0x6744_6698);
    (
        socket.read_u32().await.unwrap(),
        socket.read_u64().await.unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_get_the_errors_of_the_protocol() {
    let limits = Limits {
        minimum_bytes: 512,
        maximum_bytes: 1 << 20,
        ..Limits::default()
    };
    let server = TestServer::start(MemoryDevice::new(4 * MIB).with_limits(limits)).await;
    let script = format!(
        r#"
h.set_strict_mode(0)
h.connect_uri("{}")
def errno(f, *args):
    try:
        f(*args)
        return "ok"
    except nbd.Error as e:
        return e.errno
size = h.get_size()

print(errno(h.pread, 512, size))
print(errno(h.pwrite, bytes(512), size))
print(errno(h.zero, 1024, size - 512))
print(errno(h.trim, 1024, size - 512))
print(errno(h.pread, 512, 2**63))
print(errno(h.pread, 512, 100))
print(errno(h.pwrite, bytes(100), 0))
print(errno(h.pread, 2 << 20, 0))
print(errno(h.pwrite, bytes(2 << 20), 0))
print(errno(h.pwrite, bytes(512), 0, 1 << 2))
print(errno(h.flush, 1 << 4))
print(errno(h.pread, 512, 0))
"#,
        server.uri("disk")
    );
    let said = nbdsh(&script).await;
    let expected = [
        "EINVAL", "ENOSPC", "ENOSPC", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL",
        "EINVAL", "EINVAL", "ok",
    ];
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), expected);
    let operations = server.disk.take_operations();
    assert_eq!(
        operations,
        [Operation::Read {
            offset: 0,
            len: 512
        }]
    );
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_export_stays_as_it_is() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let script = format!(
        r#"
h.set_strict_mode(0)
h.connect_uri("{}")
for f in (lambda: h.pwrite(b"x" * 4096, 0), lambda: h.zero(4096, 0), lambda: h.trim(4096, 0)):
    try:
        f()
        print("ok")
    except nbd.Error as e:
        print(e.errno)
h.flush()
print(h.pread(6, 0).decode())
"#,
        server.uri("frozen")
    );
    assert_eq!(nbdsh(&script).await, "EPERM\nEPERM\nEPERM\nfrozen\n");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_holes_and_data_come_in_chunks_or_in_one() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    server.disk.set_contents(4096, &[1; 4096]);
    server.disk.set_contents(16384, &[2; 4096]);
    let script = format!(
        r#"
h.connect_uri("{}")
def read(flags):
    chunks = []
    def chunk(data, offset, status, error):
        chunks.append((offset, len(data), status))
    data = h.pread_structured(24576, 0, chunk, flags)
    assert data == bytes(4096) + b"\1" * 4096 + bytes(8192) + b"\2" * 4096 + bytes(4096)
    return chunks
print(read(0))
print(read(nbd.CMD_FLAG_DF))
h.set_strict_mode(0)
print(h.pread_structured(0, 0, lambda *a: None))
p = nbd.NBD()
p.set_request_structured_replies(False)
p.connect_uri("{}")
print(p.pread(24576, 0) == h.pread(24576, 0))
"#,
        server.uri("disk"),
        server.uri("disk")
    );
    let (data, hole) = (1, 2);
    let chunks = [
        (0, 4096, hole),
        (4096, 4096, data),
        (8192, 8192, hole),
        (16384, 4096, data),
        (20480, 4096, hole),
    ];
    let said = nbdsh(&script).await;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{chunks:?}"));
    assert_eq!(lines[1], "[(0, 24576, 1)]");
    assert_eq!(lines[2..], ["bytearray(b'')", "True"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_status_can_be_limited_to_one_extent() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    server.disk.set_contents(65536, &[1; 8192]);
    let script = format!(
        r#"
h.add_meta_context("base:allocation")
h.connect_uri("{}")
def status(offset, flags):
    def extents(context, offset, entries, error):
        print(context, offset, entries)
    h.block_status(131072, offset, extents, flags)
status(0, 0)
status(0, nbd.CMD_FLAG_REQ_ONE)
status(65536, nbd.CMD_FLAG_REQ_ONE)
"#,
        server.uri("disk")
    );
    assert_eq!(
        nbdsh(&script).await,
        "base:allocation 0 [65536, 3, 8192, 0, 57344, 3]\n\
         base:allocation 0 [65536, 3]\n\
         base:allocation 65536 [8192, 0]\n"
    );
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fua_reaches_the_device_and_cache_prefetches() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let script = format!(
        r#"
h.connect_uri("{}")
h.pwrite(b"a" * 512, 0, nbd.CMD_FLAG_FUA)
h.trim(4096, 4096, nbd.CMD_FLAG_FUA)
h.zero(4096, 8192, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
h.cache(4096, 16384)
"#,
        server.uri("disk")
    );
    nbdsh(&script).await;
    let [write, discard, flush, zeroes, also_flush, prefetch] =
        server.disk.take_operations().try_into().unwrap();
    assert!(matches!(write, Operation::Write { is_fua: true, .. }));
    assert!(matches!(discard, Operation::Discard { offset: 4096, .. }));
    assert_eq!((flush, also_flush), (Operation::Flush, Operation::Flush));
    assert!(matches!(zeroes, Operation::WriteZeroes { mode, .. } if !mode.may_unmap));
    assert!(matches!(
        prefetch,
        Operation::Prefetch {
            offset: 16384,
            len: 4096
        }
    ));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_device_reach_the_client() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    server.disk.set_fault(|operation| {
        let errno = match operation {
            Operation::Read { .. } => rustix::io::Errno::IO,
            Operation::Write { .. } => rustix::io::Errno::NOSPC,
            Operation::WriteZeroes { mode, .. } if mode.is_fast => rustix::io::Errno::NOTSUP,
            Operation::Flush => rustix::io::Errno::SHUTDOWN,
            _ => return None,
        };
        Some(DeviceError::new(errno, "as the test wants it"))
    });
    let script = format!(
        r#"
h.connect_uri("{}")
for f in (lambda: h.pread(512, 0), lambda: h.pwrite(bytes(512), 0), lambda: h.flush(),
          lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO), lambda: h.zero(512, 0)):
    try:
        f()
        print("ok")
    except nbd.Error as e:
        print(e.errno)
"#,
        server.uri("disk")
    );
    let said = nbdsh(&script).await;
    let expected = ["EIO", "ENOSPC", "ESHUTDOWN", "ENOTSUP", "ok"];
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), expected);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_deserters_do_no_harm() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let mut sent: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![],
        vec![0xff; 100_000],
        [
            &3u32.to_be_bytes()[..],
            b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff",
        ]
        .concat(),
        [&3u32.to_be_bytes()[..], b"IHAVEOPT\0\0\0\x01\0\0\0\x04nope"].concat(),
    ];
    for bytes in sent.drain(..) {
        let mut socket = UnixStream::connect(&server.socket).await.unwrap();
        let mut all = Vec::new();
        // The server may hang up before everything is sent.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut all).await;
        assert!(all.starts_with(b"NBDMAGICIHAVEOPT"));
    }
    for bytes in [
        vec![0; 28],
        request(1, 1, 0, 4096),
        [request(1, 1, 0, 4096), vec![7; 100]].concat(),
        request(0, 1, 0, 4096)[..10].to_vec(),
    ] {
        let mut socket = raw_client(&server).await;
        socket.write_all(&bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    assert_eq!(server.disk.take_operations(), []);
    succeed("nbdinfo", &[&server.uri("disk")]).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_commands_and_flags_are_answered() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let mut socket = raw_client(&server).await;
    for (command, flags) in [(8, 0), (999, 0), (7, 0), (0, 1 << 2), (3, 1 << 7)] {
        let mut bytes = request(command, 77, 0, 512);
        bytes[4..6].copy_from_slice(&u16::to_be_bytes(flags));
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(simple_reply(&mut socket).await, (22, 77), "{command}");
    }
    socket.write_all(&request(2, 0, 0, 0)).await.unwrap();
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_stops_at_the_limits() {
    let options = ServerOptions {
        transmission: TransmissionOptions {
            max_requests: 3,
            max_payload_bytes: 10_000,
            ..TransmissionOptions::default()
        },
        ..ServerOptions::default()
    };
    // By number.
    let server = TestServer::start_with(MemoryDevice::new(MIB), options).await;
    server.disk.hold(true);
    let mut socket = raw_client(&server).await;
    let many: Vec<_> = (0..5).flat_map(|cookie| request(3, cookie, 0, 0)).collect();
    socket.write_all(&many).await.unwrap();
    server.disk.wait_started(3).await;
    // A second client gets through, so the server has had its turn with the first one's requests.
    let mut other = raw_client(&server).await;
    other.write_all(&request(9, 1, 0, 0)).await.unwrap();
    assert_eq!(simple_reply(&mut other).await, (22, 1));
    assert_eq!(server.disk.take_operations().len(), 3);
    server.disk.hold(false);
    for _ in 0..5 {
        assert_eq!(simple_reply(&mut socket).await.0, 0);
    }
    // By bytes: the second write goes over the limit, the third has to wait.
    server.disk.take_operations();
    server.disk.hold(true);
    let write = [request(1, 1, 0, 6000), vec![1; 6000]].concat();
    socket.write_all(&write.repeat(3)).await.unwrap();
    server.disk.wait_started(7).await;
    other.write_all(&request(9, 1, 0, 0)).await.unwrap();
    assert_eq!(simple_reply(&mut other).await, (22, 1));
    assert_eq!(server.disk.take_operations().len(), 2);
    server.disk.hold(false);
    for _ in 0..3 {
        assert_eq!(simple_reply(&mut socket).await, (0, 1));
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_replies_gets_no_further_requests_in() {
    let server = TestServer::start(MemoryDevice::new(64 * MIB)).await;
    server.disk.set_contents(0, &vec![1; 32 << 20]);
    let mut socket = raw_client(&server).await;
    // 1000 MiB of replies are asked for; 32 MiB are taken on, and what the socket takes.
    let many: Vec<_> = (0..1000)
        .flat_map(|cookie| request(0, cookie, 0, 1 << 20))
        .collect();
    socket.write_all(&many).await.unwrap();
    server.disk.wait_started(32).await;
    let mut other = raw_client(&server).await;
    other.write_all(&request(0, 5, 0, 1)).await.unwrap();
    assert_eq!(simple_reply(&mut other).await, (0, 5));
    let started = server.disk.take_operations().len();
    assert!(
        (33..38).contains(&started),
        "{started} requests were taken on"
    );
    drop(socket);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_was_taken_on() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    server.disk.hold(true);
    let mut socket = raw_client(&server).await;
    let write = [request(1, 42, 0, 4096), vec![9; 4096]].concat();
    socket.write_all(&write).await.unwrap();
    server.disk.wait_started(1).await;
    server.stop.cancel();
    let disk = server.disk.clone();
    disk.hold(false);
    assert_eq!(simple_reply(&mut socket).await, (0, 42));
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    server.finish().await;
    assert_eq!(disk.contents(4095, 1), [9].as_slice());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undecided_and_the_too_many_are_sent_away() {
    let options = ServerOptions {
        max_connections: 2,
        handshake_timeout: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(MemoryDevice::new(MIB), options).await;
    let first = raw_client(&server).await;
    let mut silent = UnixStream::connect(&server.socket).await.unwrap();
    silent.read_exact(&mut [0; 18]).await.unwrap();
    let mut third = UnixStream::connect(&server.socket).await.unwrap();
    assert_eq!(
        third.read(&mut [0]).await.unwrap(),
        0,
        "there are two already"
    );
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "it never chose");
    let fourth = raw_client(&server).await;
    drop((first, fourth));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resized_device_is_seen_by_the_next_request() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let mut socket = raw_client(&server).await;
    socket.write_all(&request(0, 1, MIB, 1)).await.unwrap();
    assert_eq!(simple_reply(&mut socket).await, (22, 1));
    server.disk.resize(2 * MIB);
    socket.write_all(&request(0, 2, MIB, 1)).await.unwrap();
    assert_eq!(simple_reply(&mut socket).await, (0, 2));
    assert_eq!(socket.read_u8().await.unwrap(), 0);
    let size = succeed("nbdinfo", &["--size", &server.uri("disk")]).await;
    assert_eq!(size.trim(), (2 * MIB).to_string());
    server.finish().await;
}
