//! Whole configurations: where options come from, compared with `ceph-conf` where it can say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const EXPECTED: &str = include_str!("../../testdata/config/expected");

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/config")
}

fn load(file: &str, user: &str) -> Result<Config, ConfigError> {
    let path = testdata().join(file);
    let builder = Config::builder().name(user);
    builder.conf(path.display().to_string()).load()
}

#[test]
fn files_mean_what_they_mean_to_ceph() {
    let mut refused = 0;
    let mut files: BTreeMap<&str, Vec<(&str, &str, &str)>> = BTreeMap::new();
    for line in EXPECTED.lines() {
        if let Some(file) = line.strip_suffix(" refused") {
            let error = load(file, "client.admin").unwrap_err();
            assert!(
                matches!(error, ConfigError::Syntax { .. }),
                "{file}: {error}"
            );
            refused += 1;
            continue;
        }
        let (front, value) = line.split_once(" =").unwrap();
        let words: Vec<&str> = front.split(' ').collect();
        let value = value.strip_prefix(' ').unwrap_or(value);
        let settings = files.entry(words[0]).or_default();
        settings.push((words[1], words[2], value));
    }
    assert_eq!(refused, 12);
    assert_eq!(files.len(), 7);

    let options: Vec<&str> = files
        .values()
        .flatten()
        .map(|(_, option, _)| *option)
        .chain(["edge", "_edge", "quoted", "upper"])
        .collect();
    for (file, settings) in files {
        for user in ["client.admin", "client.backup", "mon.a"] {
            let config = load(file, user).unwrap();
            for option in &options {
                let expected = settings
                    .iter()
                    .find(|setting| (setting.0, setting.1) == (user, option))
                    .map(|setting| setting.2.to_string());
                let found = config.value(option).map(|value| value.text.to_string());
                assert_eq!(found, expected, "{option} of {user} in {file}");
            }
        }
    }
}

#[test]
fn a_file_without_settings_is_fine() {
    let config = load("blank.conf", "client.admin").unwrap();
    assert!(config.value("mon_host").is_none());
    let error = config.monitors().unwrap_err().to_string();
    assert!(error.ends_with("testdata/config/blank.conf"), "{error}");
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    let pairs = pairs.iter();
    Environment {
        variables: pairs
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        ..Environment::default()
    }
}

fn write(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.conf");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

fn text(config: &Config, name: &str) -> String {
    let value = config.value(name).unwrap();
    format!("{} from {}", *value.text, value.origin)
}

#[test]
fn the_nearest_source_wins() {
    let (_dir, path) = write("[global]\nx = 1\nkeyring = /g\n");
    let mut config = Config::builder().conf(&path).load().unwrap();
    config.set_monitor_options(BTreeMap::from(
        [("x", "0"), ("y", "0")].map(|(name, text)| (name.to_string(), text.to_string())),
    ));
    assert_eq!(text(&config, "x"), format!("1 from {path} line 2 [global]"));
    assert_eq!(text(&config, "y"), "0 from the monitors");

    let environment = variables(&[
        ("CEPH_CONF", &path),
        ("CEPH_KEYRING", "/e"),
        ("CEPH_ARGS", "--x 2 --id z"),
    ]);
    let builder = Config::builder().environment(environment.clone());
    let config = builder.clone().load().unwrap();
    assert_eq!(
        text(&config, "x"),
        "2 from the environment variable CEPH_ARGS"
    );
    assert_eq!(
        text(&config, "keyring"),
        "/e from the environment variable CEPH_KEYRING"
    );
    assert_eq!(config.name().to_string(), "client.z");
    assert_eq!(config.cluster(), "ceph");

    let config = builder.option("x", "3").id("q").load().unwrap();
    assert_eq!(text(&config, "x"), "3 from the command line");
    assert_eq!(config.name().to_string(), "client.q");

    let mut environment = environment;
    let args = "--keyring /a".to_string();
    environment.variables.insert("CEPH_ARGS".to_string(), args);
    let config = Config::builder().environment(environment).load().unwrap();
    assert_eq!(
        text(&config, "keyring"),
        "/a from the environment variable CEPH_ARGS"
    );
}

#[test]
fn the_cluster_is_named_after_the_file() {
    let (_dir, path) = write("[global]\nx = $cluster\n");
    let builder = Config::builder().conf(&path);
    assert_eq!(builder.clone().load().unwrap().cluster(), "my");
    let config = builder.cluster("other").load().unwrap();
    assert_eq!(config.value("x").unwrap().text.as_str(), "other");
}

#[test]
fn the_file_is_looked_for_in_the_usual_places() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".ceph")).unwrap();
    let path = home.path().join(".ceph/no-such-cluster.conf");
    std::fs::write(&path, "[global]\nmon_host = a\n").unwrap();
    let environment = variables(&[("HOME", &home.path().display().to_string())]);
    let builder = Config::builder().cluster("no-such-cluster");
    let config = builder.clone().environment(environment).load().unwrap();
    assert_eq!(config.file(), Some(path.as_path()));

    let config = builder.load().unwrap();
    assert_eq!(config.file(), None);
    assert_eq!(
        config.monitors().unwrap_err().to_string(),
        "no monitor is known: mon_host is not set, neither by an option nor in \
         /etc/ceph/no-such-cluster.conf, no-such-cluster.conf"
    );
}

#[test]
fn a_named_file_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("b.conf"), "[global]\nx = 1\n").unwrap();
    let both = format!("{},{}", path("a.conf"), path("b.conf"));
    let config = Config::builder().conf(both).load().unwrap();
    assert_eq!(config.file(), Some(dir.path().join("b.conf").as_path()));
    for builder in [
        Config::builder().conf(path("a.conf")),
        Config::builder().environment(variables(&[("CEPH_CONF", &path("a.conf"))])),
    ] {
        assert_eq!(
            builder.load().unwrap_err().to_string(),
            format!("there is no configuration file at {}", path("a.conf"))
        );
    }
}

#[test]
fn monitors_come_from_mon_host_or_from_their_sections() {
    let sections = "[mon.a]\nmon addr = 10.0.0.1:6789\nhost = x\n[mon.b]\n[mon.c]\n\
                    mon addr = 10.0.0.3:3300\n[mon]\nmon addr = 9.9.9.9\n";
    let (_dir, path) = write(sections);
    let builder = Config::builder().conf(&path);
    let monitors = builder.clone().load().unwrap().monitors().unwrap();
    let names: Vec<Option<&str>> = monitors.iter().map(|it| it.name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("c")]);
    assert_eq!(monitors[0].candidates[1].to_string(), "v2:10.0.0.1:3300/0");

    let builder = builder.option("mon-host", "v2:h:1 v2:i:1");
    let monitors = builder.load().unwrap().monitors().unwrap();
    assert_eq!(monitors.len(), 2);
    assert_eq!(monitors[1].candidates[0].host, Host::Name("i".into()));
}

#[test]
fn a_bad_address_is_named_with_its_place() {
    let (_dir, path) = write("[global]\nmon_host = 10.0.0.1, 10.0.0.2:port\n");
    let error = Config::builder().conf(&path).load().unwrap().monitors();
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "\"10.0.0.2:port\" in mon_host from {path} line 2 [global] is no monitor address: \
             expected a port between 1 and 65535"
        )
    );
}

#[test]
fn options_are_typed_and_complain_with_their_place() {
    let (_dir, path) = write("[client]\nrbd cache = maybe\nsize = 4K\n");
    let config = Config::builder().conf(&path).load().unwrap();
    assert_eq!(config.get("size").unwrap(), Some(SizeBytes(4096)));
    assert_eq!(config.get::<bool>("unset").unwrap(), None);
    assert_eq!(
        config.get::<bool>("rbd_cache").unwrap_err().to_string(),
        format!(
            "rbd_cache = \"maybe\" from {path} line 2 [client] is not usable: \
             expected true or false"
        )
    );
}

#[test]
fn typed_words_are_taken_over() {
    let words = ["map", "--pool", "p", "-n", "client.x", "-m", "h", "image"];
    let words = words.into_iter().map(str::to_string);
    let (builder, rest) = Config::builder()
        .option("pool", "q")
        .option("other", "1")
        .arguments(words)
        .unwrap();
    assert_eq!(rest, ["map", "image"]);
    let config = builder.without_file().load().unwrap();
    assert_eq!(text(&config, "pool"), "p from the command line");
    assert_eq!(text(&config, "other"), "1 from the command line");
    assert_eq!(text(&config, "mon_host"), "h from the command line");
    assert_eq!(config.name().to_string(), "client.x");
}

#[test]
fn a_name_that_is_none_is_refused() {
    let error = Config::builder().name("admin").without_file().load();
    assert_eq!(
        error.unwrap_err().to_string(),
        "\"admin\" from the command line is not a user name: \
         expected TYPE.ID such as client.admin"
    );
}

#[test]
fn secrets_are_not_printed() {
    let builder = Config::builder().option("key", "hunter2").without_file();
    assert!(!format!("{builder:?}").contains("hunter"));
    let config = builder.load().unwrap();
    assert!(!format!("{config:?}").contains("hunter"));
    assert!(!config.key().unwrap_err().to_string().contains("hunter"));
}
