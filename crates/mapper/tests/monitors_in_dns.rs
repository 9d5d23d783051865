//! Monitors that no file names: SRV records and host names, from a real name server.
//!
//! Needs the packages that `minicluster` starts clusters from, `rbd`, `dnsmasq`, and root for a mount
//! namespace with another `/etc/resolv.conf`.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use minicluster::{Cluster, KeyType, Release, Store};

/// Where the name server is; `/etc/resolv.conf` can name no port but 53.
const SERVER: &str = "127.0.53.53";

/// A name server that knows what it is told and nothing else.
struct NameServer(Child);

impl NameServer {
    fn start(records: &[String]) -> Self {
        let mut child = Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv"])
            .args(["--no-hosts", "--bind-interfaces", "--log-facility=-"])
            .args(["--local=/test/", "--user=root"])
            .arg(format!("--listen-address={SERVER}"))
            .args(records)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = said.by_ref().map_while(Result::ok).any(|line| {
            println!("{line}");
            line.contains("started")
        });
        assert!(started, "the name server does not start");
        // It must not find a broken pipe.
        std::thread::spawn(move || said.for_each(drop));
        Self(child)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Bench {
    cluster: Cluster,
    _server: NameServer,
}

impl Bench {
    fn start() -> Self {
        let mut builder = Cluster::builder().mons(1).osds(1).mgr(false);
        if Release::default_of_tests().unwrap() >= Release::Tentacle {
            // The `rbd` that is compared with is this machine's, which may know no newer type.
            builder = builder.key_type(KeyType::Aes);
        }
        let cluster = builder.store(Store::Memstore).start().unwrap();
        cluster.create_pool("rbd", 8).unwrap();
        cluster.rbd(&["create", "--size", "8M", "found"]).unwrap();
        let mon_host = cluster.mon_host();
        let (_, rest) = mon_host.split_once("v2:").unwrap();
        let address = rest.split([',', '/', ']']).next().unwrap();
        let (ip, port) = address.split_once(':').unwrap();

        // Who is asked for these must be found: the one of the lower priority is not there.
        let srv = |name: &str, host: &str, port: &str, priority: u16| {
            format!("--srv-host={name},{host},{port},{priority},60")
        };
        let server = NameServer::start(&[
            format!("--host-record=mon-a.ceph.test,{ip}"),
            "--host-record=gone.ceph.test,127.0.53.54".to_string(),
            srv("_ceph-mon._tcp.ceph.test", "mon-a.ceph.test", port, 10),
            srv("_stores._tcp.other.test", "mon-a.ceph.test", port, 20),
            srv("_stores._tcp.other.test", "gone.ceph.test", "3300", 10),
            srv("_lost._tcp.ceph.test", "nowhere.ceph.test", port, 10),
        ]);
        let keyring = cluster.keyring_path();
        let files = [
            (
                "dns.conf",
                format!("[global]\nkeyring = {}\n", keyring.display()),
            ),
            (
                "resolv.conf",
                format!("nameserver {SERVER}\nsearch ceph.test\n"),
            ),
            ("nsswitch.conf", "hosts: files\n".to_string()),
        ];
        for (name, text) in files {
            std::fs::write(cluster.dir().join(name), text).unwrap();
        }
        Self {
            cluster,
            _server: server,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cluster.dir().join(name)
    }

    /// Lists the images with a program that asks our name server. Files of the cluster's directory
    /// take the places of those in `/etc` of the same names.
    fn list(&self, program: &str, replaced: &[&str], args: &[&str]) -> Output {
        let mounts: Vec<String> = replaced
            .iter()
            .map(|name| format!("mount --bind {} /etc/{name}", self.file(name).display()))
            .collect();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec"])
            .arg(format!("{}; exec \"$@\"", mounts.join("; ")))
            .args(["sh", program, "ls", "--conf"])
            .arg(self.file("dns.conf"))
            .args(args);
        for name in ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn finds(&self, program: &str, replaced: &[&str], args: &[&str]) {
        let output = self.list(program, replaced, args);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let found = String::from_utf8_lossy(&output.stdout);
        assert_eq!(found, "found\n", "{program} {args:?}: {complaint}");
    }
}

const ORBD: &str = env!("CARGO_BIN_EXE_orbd");

#[test]
fn monitors_are_found_by_name() {
    let bench = Bench::start();
    let resolv = ["resolv.conf"];
    for program in ["rbd", ORBD] {
        // In a domain of the search list, which is the default, and in another one.
        bench.finds(program, &resolv, &[]);
    }
    // The preferred monitor is not there.
    let other = ["--mon-dns-srv-name", "stores_other.test"];
    bench.finds(ORBD, &resolv, &other);

    let mon_host = bench.cluster.mon_host();
    let (_, rest) = mon_host.split_once("v2:").unwrap();
    let address = rest.split([',', '/', ']']).next().unwrap();
    let (_, port) = address.split_once(':').unwrap();
    for host in ["mon-a", "mon-a.ceph.test"] {
        let hosts = format!("{host}:{port}");
        bench.finds("rbd", &resolv, &["-m", &hosts]);
        bench.finds(ORBD, &resolv, &["-m", &hosts]);
        // As in a static program, where the C library does not know DNS.
        let without_library = ["resolv.conf", "nsswitch.conf"];
        bench.finds(ORBD, &without_library, &["-m", &hosts]);
    }

    // What is configured counts, even if it is of no use.
    let useless = ["-m", "v2:127.0.53.54:3300", "--client-mount-timeout", "1"];
    let output = bench.list(ORBD, &resolv, &useless);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("127.0.53.54:3300"), "{complaint}");

    for (service, reason) in [
        ("missing", "_missing._tcp"),
        ("lost", "nowhere.ceph.test"),
        ("missing_other.test", "_missing._tcp.other.test"),
    ] {
        let output = bench.list(ORBD, &resolv, &["--mon-dns-srv-name", service]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        println!("{complaint}");
        assert!(complaint.contains("mon_host is not set"), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}");
        assert_ne!(output.status.code(), Some(0));
    }
}
