//! Images made by us as upstream sees them, and the other way round.

use rados::{Errno, Pool};
use rbd::{CreateOptions, Error, Features, Image, InvalidOptions, OpenOptions};
use serde_json::Value;

use crate::support::*;

/// The options of upstream's `rbd create` that ask for the same as `options`.
fn create_arguments(spec: &str, options: &CreateOptions) -> Vec<String> {
    let mut args = vec![
        "create".to_string(),
        spec.to_string(),
        format!("--size={}B", options.size_bytes),
        format!("--object-size={}B", 1u64 << options.order),
    ];
    let features: Vec<_> = options.features.names().collect();
    args.push(format!("--image-feature={}", features.join(",")));
    if options.stripe_unit > 0 {
        args.push(format!("--stripe-unit={}B", options.stripe_unit));
        args.push(format!("--stripe-count={}", options.stripe_count));
    }
    if let Some(pool) = &options.data_pool {
        args.push(format!("--data-pool={}", pool.name()));
    }
    args
}

/// Holds everything `rbd info` says against what we say.
fn assert_told_alike(image: &Image, told: &Value) {
    assert_eq!(told["name"], image.name());
    assert_eq!(told["id"], image.id());
    assert_eq!(told["format"], 2);
    assert_eq!(told["size"], image.size_bytes());
    assert_eq!(told["objects"], image.object_count());
    assert_eq!(told["order"], image.layout().order());
    assert_eq!(told["object_size"], image.object_size());
    assert_eq!(told["snapshot_count"], image.snapshots().len());
    assert_eq!(told["block_name_prefix"], image.block_name_prefix());
    let names = |names: Vec<&str>| Value::from(names);
    assert_eq!(told["features"], names(image.features().names().collect()));
    assert_eq!(
        told["op_features"],
        names(image.op_features().names().collect())
    );
    assert_eq!(told["flags"], names(image.flags().names().collect()));
    let data_pool = image
        .info()
        .data_pool
        .map(|_| image.data_pool().name().to_string());
    assert_eq!(told.get("data_pool").cloned(), data_pool.map(Value::from));
    let layout = image.layout();
    if layout.is_plain() {
        assert_eq!(told.get("stripe_unit"), None);
    } else {
        assert_eq!(told["stripe_unit"], layout.stripe_unit());
        assert_eq!(told["stripe_count"], layout.stripe_count());
    }
    assert_eq!(told.get("parent"), None);
}

async fn variants(pool: &Pool) -> Vec<(&'static str, CreateOptions)> {
    let cluster = pool.cluster();
    let data = cluster.pool("data").await.unwrap();
    let ec = cluster.pool("ec").await.unwrap();
    let defaults = CreateOptions::new(100 << 20);
    let plain = plain_options(100 << 20);
    vec![
        ("defaults", defaults.clone()),
        ("layering", plain.clone()),
        (
            "lock",
            CreateOptions {
                features: Features::EXCLUSIVE_LOCK,
                ..plain.clone()
            },
        ),
        (
            "empty",
            CreateOptions {
                size_bytes: 0,
                ..defaults.clone()
            },
        ),
        (
            "odd-size",
            CreateOptions {
                size_bytes: (5 << 20) + 1,
                ..plain.clone()
            },
        ),
        (
            "smallest-objects",
            CreateOptions {
                order: 12,
                size_bytes: 1 << 20,
                ..defaults.clone()
            },
        ),
        (
            "largest-objects",
            CreateOptions {
                order: 25,
                ..defaults.clone()
            },
        ),
        (
            "striped",
            CreateOptions {
                stripe_unit: 64 << 10,
                stripe_count: 5,
                ..defaults.clone()
            },
        ),
        (
            "striped-in-one",
            CreateOptions {
                stripe_unit: 4 << 20,
                stripe_count: 1,
                ..plain.clone()
            },
        ),
        (
            "wide",
            CreateOptions {
                stripe_unit: 4 << 20,
                stripe_count: 3,
                ..plain.clone()
            },
        ),
        (
            "data-pool",
            CreateOptions {
                data_pool: Some(data.clone()),
                ..plain.clone()
            },
        ),
        (
            "same-pool",
            CreateOptions {
                data_pool: Some(pool.clone()),
                ..plain.clone()
            },
        ),
        (
            "ec",
            CreateOptions {
                data_pool: Some(ec),
                stripe_unit: 4096,
                stripe_count: 2,
                ..defaults
            },
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn both_make_the_same_images() {
    let pool = pool().await;
    for (name, options) in variants(&pool).await {
        let (ours, theirs) = (format!("ours-{name}"), format!("theirs-{name}"));
        rbd::create(&pool, &ours, &options).await.unwrap();
        let args = create_arguments(&format!("rbd/{theirs}"), &options);
        rbd(&args.iter().map(String::as_str).collect::<Vec<_>>());

        let mut told = Vec::new();
        for name in [&ours, &theirs] {
            let mut info = rbd_json(&["info", &format!("rbd/{name}")]);
            let image = open(&pool, name).await;
            assert_told_alike(&image, &info);
            // What must differ.
            let id = image.id();
            let prefix = image.block_name_prefix().replace(&id, "ID");
            info["block_name_prefix"] = prefix.into();
            for key in [
                "id",
                "name",
                "create_timestamp",
                "access_timestamp",
                "modify_timestamp",
            ] {
                assert!(info.as_object_mut().unwrap().remove(key).is_some());
            }
            told.push(info);
        }
        assert_eq!(told[0], told[1], "{name}");
        if options.features.contains(Features::OBJECT_MAP) {
            rbd(&[
                "object-map",
                "check",
                "--no-progress",
                &format!("rbd/{ours}"),
            ]);
            assert!(
                rbd_json(&["info", &format!("rbd/{ours}")])["flags"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_writes_what_we_made() {
    let pool = pool().await;
    let mut options = CreateOptions::new(20 << 20);
    (options.stripe_unit, options.stripe_count) = (64 << 10, 5);
    rbd::create(&pool, "for-upstream", &options).await.unwrap();
    rbd(&[
        "bench",
        "--io-type",
        "write",
        "--io-pattern",
        "rand",
        "--io-size",
        "16K",
        "--io-total",
        "8M",
        "rbd/for-upstream",
    ]);
    rbd(&["object-map", "check", "--no-progress", "rbd/for-upstream"]);
    let image = open(&pool, "for-upstream").await;
    assert!(image.flags().is_empty());
    let ours = read_all(&image).await;
    assert!(ours.iter().any(|byte| *byte != 0));
    assert_same("bench", &ours, &export("rbd/for-upstream"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_use_are_refused() {
    let pool = pool().await;
    rbd(&["create", "--size", "1M", "rbd/taken"]);
    let before = objects("rbd")
        .iter()
        .filter(|name| name.contains("taken"))
        .count();
    for name in ["taken"] {
        let error = rbd::create(&pool, name, &plain_options(1 << 20))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::ImageExists { image } if image == "rbd/taken"),
            "{error:?}"
        );
        assert_eq!(error.errno(), Errno::EEXIST);
    }
    assert_eq!(
        objects("rbd")
            .iter()
            .filter(|name| name.contains("taken"))
            .count(),
        before
    );
    for name in ["", "a/b", "a@b"] {
        let error = rbd::create(&pool, name, &plain_options(1 << 20))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn format_1_is_refused_by_name() {
    let pool = pool().await;
    let made = blocking(|| {
        cluster()
            .command("rbd")
            .env("RBD_FORCE_ALLOW_V1", "1")
            .args(["create", "--size", "1M", "--image-format", "1", "rbd/old"])
            .output()
    });
    assert!(made.unwrap().status.success());
    let error = Image::open(&pool, "old", OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Format1 { .. }), "{error:?}");
    let error = rbd::create(&pool, "old", &plain_options(1 << 20))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ImageExists { .. }), "{error:?}");
    let error = rbd::remove(&pool, "old", |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Format1 { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let pool = pool().await;
    let plain = plain_options(1 << 20);
    let cases = [
        CreateOptions {
            order: 11,
            ..plain.clone()
        },
        CreateOptions {
            order: 26,
            ..plain.clone()
        },
        CreateOptions {
            stripe_unit: 4096,
            ..plain.clone()
        },
        CreateOptions {
            stripe_unit: 3000,
            stripe_count: 2,
            ..plain.clone()
        },
        CreateOptions {
            features: Features::OBJECT_MAP,
            ..plain.clone()
        },
        CreateOptions {
            features: Features::EXCLUSIVE_LOCK | Features::JOURNALING,
            ..plain.clone()
        },
        CreateOptions {
            size_bytes: u64::MAX,
            ..plain.clone()
        },
        CreateOptions {
            order: 12,
            size_bytes: 1 << 50,
            ..CreateOptions::new(0)
        },
    ];
    for options in cases {
        let error = rbd::create(&pool, "impossible", &options)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::InvalidOptions { .. }),
            "{options:?}: {error:?}"
        );
        assert_eq!(error.errno(), Errno::EINVAL);
    }
    for (header, data) in [("rbd", "ecplain"), ("ec", "rbd")] {
        let header = pool.cluster().pool(header).await.unwrap();
        let data_pool = Some(pool.cluster().pool(data).await.unwrap());
        let options = CreateOptions {
            data_pool,
            ..plain.clone()
        };
        let error = rbd::create(&header, "impossible", &options)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::UnsuitablePool { .. }), "{error:?}");
    }
    let missing = pool.in_namespace("nowhere");
    let error = rbd::create(&missing, "impossible", &plain)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchNamespace { .. }), "{error:?}");
    let error = Image::open(&pool, "impossible", OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::ENOENT);
    for pool in ["rbd", "ec", "ecplain"] {
        assert!(!objects(pool).iter().any(|name| name.contains("impossible")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_half_way_is_undone() {
    // May enter names, but not write headers.
    let osd = "allow r pool=rbd, allow rwx pool=rbd object_prefix rbd_id., allow rwx pool=rbd object_prefix rbd_directory";
    blocking(|| cluster().create_user("client.half", &[("mon", "profile rbd"), ("osd", osd)]))
        .unwrap();
    let pool = connect_as("half").await.pool("rbd").await.unwrap();
    let error = rbd::create(&pool, "half-made", &plain_options(1 << 20))
        .await
        .unwrap_err();
    assert!(
        matches!(error.errno(), Errno::EPERM | Errno::EACCES),
        "{error:?}"
    );
    assert!(
        !rbd::list(&pool)
            .await
            .unwrap()
            .iter()
            .any(|entry| entry.name == "half-made")
    );
    assert!(!objects("rbd").iter().any(|name| name.contains("half-made")));
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_have_images_of_their_own() {
    rbd(&["namespace", "create", "rbd/ns"]);
    rbd(&["namespace", "create", "rbd/ns2"]);
    let pool = pool().await.in_namespace("ns");
    let data_pool = Some(pool.cluster().pool("data").await.unwrap());
    let options = CreateOptions {
        data_pool,
        ..plain_options(8 << 20)
    };
    rbd::create(&pool, "inside", &options).await.unwrap();
    assert_eq!(rbd_json(&["ls", "rbd/ns"]), serde_json::json!(["inside"]));
    let image = open(&pool, "inside").await;
    assert_told_alike(&image, &rbd_json(&["info", "rbd/ns/inside"]));
    image
        .write(4096, Random::new(1).bytes(100_000))
        .await
        .unwrap();
    assert_same(
        "namespace",
        &read_all(&image).await,
        &export("rbd/ns/inside"),
    );
    let names = rbd::list(&pool).await.unwrap();
    assert_eq!(
        names
            .iter()
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>(),
        ["inside"]
    );
    assert_eq!(names[0].id, image.id());
    let id = image.id();
    rbd::remove(&pool, "inside", |_| {}).await.unwrap();
    for pool in ["rbd", "data"] {
        assert!(!objects(pool).iter().any(|name| name.contains(&id)));
    }
}

#[test]
fn the_reason_is_said() {
    let error = Error::InvalidOptions {
        image: "rbd/x".to_string(),
        reason: InvalidOptions::StripeUnit {
            unit: 3000,
            object_size: 4096,
        },
    };
    assert_eq!(
        error.to_string(),
        "image rbd/x: stripe unit 3000 is not a factor of the object size 4096"
    );
}
