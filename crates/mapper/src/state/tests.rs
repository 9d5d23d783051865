use super::*;

fn spec(image: &str) -> MappedSpec {
    MappedSpec {
        cluster: "11-22".to_owned(),
        pool: "rbd".to_owned(),
        namespace: String::new(),
        image: image.to_owned(),
        snapshot: None,
    }
}

fn mapping(image: &str) -> Mapping {
    Mapping {
        process: ProcessId::current().unwrap(),
        spec: spec(image),
        device_type: DeviceType::Fuse,
        is_read_only: false,
        device: None,
        mount_point: None,
        identifier: None,
        identity: Identity::default(),
        log_file: None,
    }
}

/// The mapping of a daemon that is gone.
fn stale(image: &str) -> Mapping {
    let process = r#"{"pid":1,"start_time":18446744073709551615}"#;
    Mapping {
        process: serde_json::from_str(process).unwrap(),
        device: Some("/dev/loop7".into()),
        ..mapping(image)
    }
}

fn registry() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(Some(dir.path().join("run"))).unwrap();
    (dir, registry)
}

#[test]
fn the_same_is_not_mapped_twice_unless_asked() {
    let (_dir, registry) = registry();
    let mut claim = registry.claim(mapping("one"), false).unwrap();
    claim
        .update(|mapping| mapping.device = Some("/dev/nbd0".into()))
        .unwrap();
    let refused = registry.claim(mapping("one"), false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rbd/one is already mapped as /dev/nbd0"
    );
    // A file of the same process would overwrite the first one's, so that is all that can be shown here.
    drop(claim);
    assert!(registry.list().unwrap().is_empty());
    registry.claim(mapping("one"), false).unwrap();
    let _claim = registry.claim(mapping("one"), false).unwrap();
    registry.claim(mapping("one"), true).unwrap();
}

#[test]
fn a_dead_daemon_claims_nothing() {
    let (_dir, registry) = registry();
    registry.write(&stale("one")).unwrap();
    let claim = registry.claim(mapping("one"), false).unwrap();
    let found = registry.find(&Query::Spec(spec("one"))).unwrap();
    let alive: Vec<_> = found.iter().map(Mapping::is_alive).collect();
    assert_eq!(alive, [true, false]);
    assert!(registry.remove_stale(claim.mapping()).is_err());
    registry.remove_stale(&found[1]).unwrap();
    assert_eq!(registry.list().unwrap(), [claim.mapping().clone()]);
}

#[test]
fn mappings_are_found_by_device_mount_point_and_image() {
    let (_dir, registry) = registry();
    let mut claim = registry.claim(mapping("one"), false).unwrap();
    claim
        .update(|mapping| mapping.device = Some("/dev/nbd1".into()))
        .unwrap();
    let process = claim.mapping().process;
    registry
        .set_mount_point(process, Some("/mnt/a".into()))
        .unwrap();
    let any_cluster = MappedSpec {
        cluster: String::new(),
        ..spec("one")
    };
    let snapshot = MappedSpec {
        snapshot: Some("s".to_owned()),
        ..spec("one")
    };
    for (query, is_found) in [
        (Query::Device("/dev/nbd1".into()), true),
        (Query::Device("/dev/nbd1p3".into()), true),
        (Query::Device("/dev/nbd10".into()), false),
        (Query::Device("/dev/nbd1p".into()), false),
        (Query::MountPoint("/mnt/a".into()), true),
        (Query::MountPoint("/mnt".into()), false),
        (Query::Spec(any_cluster), true),
        (Query::Spec(spec("two")), false),
        (Query::Spec(snapshot), false),
    ] {
        assert_eq!(
            !registry.find(&query).unwrap().is_empty(),
            is_found,
            "{query:?}"
        );
    }
    // What the mounting process wrote is kept when the daemon writes.
    claim
        .update(|mapping| mapping.identifier = Some("id".to_owned()))
        .unwrap();
    assert_eq!(claim.mapping().mount_point, Some("/mnt/a".into()));
}

#[test]
fn files_are_private_and_rubbish_among_them_is_ignored() {
    use std::os::unix::fs::PermissionsExt;

    let (_dir, registry) = registry();
    let claim = registry.claim(mapping("one"), false).unwrap();
    let file = registry.file_of(claim.mapping().process);
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(registry.directory())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    std::fs::write(registry.directory().join("1.json"), "{").unwrap();
    std::fs::write(registry.directory().join("notes.txt"), "{").unwrap();
    assert_eq!(registry.list().unwrap().len(), 1);
}

#[test]
fn of_many_at_once_one_gets_it() {
    let (_dir, registry) = registry();
    let won = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| registry.claim(mapping("one"), false).ok()))
            .collect();
        let claims: Vec<_> = claimers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        claims.iter().flatten().count()
    });
    assert_eq!(won, 1);
}

#[test]
fn specs_are_written_as_rbd_does() {
    let full = MappedSpec {
        namespace: "ns".to_owned(),
        snapshot: Some("s".to_owned()),
        ..spec("one")
    };
    assert_eq!(spec("one").to_string(), "rbd/one");
    assert_eq!(full.to_string(), "rbd/ns/one@s");
}
