//! A command's way to the cluster: the configuration, and from it, when needed, the connection.

use std::sync::{Arc, OnceLock};

use rados::config::{Config, Environment, RbdDefaults, Timeouts};
use rados::{Cluster, Pool};
use rbd::{Features, Image, OpenOptions, SnapshotSelector};

use crate::args::global::Global;
use crate::args::overrides::Overrides;
use crate::exit::{Failure, Outcome};
use crate::location::Location;

/// The configuration of a command.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    overrides: Overrides,
    /// As it was before there was a connection.
    config: Config,
    /// With what the cluster adds to it.
    settled: OnceLock<Arc<Config>>,
}

impl Session {
    /// Reads the configuration.
    ///
    /// # Errors
    /// With exit status 1, as upstream, which reads it before anything else.
    pub(crate) fn new(global: Global, overrides: Overrides) -> Outcome<Self> {
        let mut builder = Config::builder().environment(Environment::of_process());
        if let Some(conf) = &global.conf {
            builder = builder.conf(conf);
        }
        if let Some(cluster) = &global.cluster {
            builder = builder.cluster(cluster);
        }
        if let Some(id) = &global.id {
            builder = builder.id(id);
        }
        if let Some(name) = &global.name {
            builder = builder.name(name);
        }
        for (name, value) in &overrides.0 {
            builder = builder.option(name, value);
        }
        let options = [
            ("mon_host", &global.mon_host),
            ("keyring", &global.keyring),
            ("keyfile", &global.keyfile),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                builder = builder.option(name, value);
            }
        }
        if global.no_mon_config {
            builder = builder.option("mon_config", "false");
        }
        let config = builder.load().map_err(Failure::usage)?;
        Ok(Self {
            global,
            overrides,
            config,
            settled: OnceLock::new(),
        })
    }

    /// The options it was made from, for making another.
    pub(crate) const fn options(&self) -> (&Global, &Overrides) {
        (&self.global, &self.overrides)
    }

    /// The configuration, with the options that the cluster keeps once there has been a connection.
    fn config(&self) -> &Config {
        self.settled.get().map_or(&self.config, AsRef::as_ref)
    }

    /// How long to wait for whom.
    pub(crate) fn timeouts(&self) -> Outcome<Timeouts> {
        self.config().timeouts().map_err(Failure::invalid)
    }

    /// What new images look like, and the default pool. Which they are is settled by the connection.
    pub(crate) fn defaults(&self) -> Outcome<RbdDefaults> {
        self.config().rbd_defaults().map_err(Failure::invalid)
    }

    /// The features of new images, if somebody configured them.
    pub(crate) fn configured_features(&self) -> Outcome<Option<Features>> {
        match self.config().value("rbd_default_features") {
            Some(_) => Ok(Some(Features(self.defaults()?.features))),
            None => Ok(None),
        }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Outcome<Cluster> {
        let cluster = Cluster::connect(self.config.clone())
            .await
            .map_err(|error| {
                Failure::because("couldn't connect to the cluster", error.errno(), &error)
            })?;
        let _ = self.settled.set(cluster.config());
        Ok(cluster)
    }

    /// Connects and opens a pool; the default one unless it is named.
    pub(crate) async fn pool(&self, name: Option<&str>, namespace: &str) -> Outcome<Pool> {
        let cluster = self.connect().await?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.defaults()?.pool,
        };
        open_pool(&cluster, &name)
            .await
            .map(|pool| pool.in_namespace(namespace))
    }

    /// Connects and opens the pool where an image is.
    pub(crate) async fn pool_of(&self, location: &Location) -> Outcome<Pool> {
        self.pool(location.pool.as_deref(), &location.namespace)
            .await
    }

    /// Opens an image, or the snapshot of it that is named.
    pub(crate) async fn open(&self, location: &Location, options: OpenOptions) -> Outcome<Image> {
        let pool = self.pool_of(location).await?;
        open_image(&pool, location, options).await
    }

    /// Opens an image to look at its header or change it.
    pub(crate) async fn open_header(&self, location: &Location) -> Outcome<Image> {
        let options = OpenOptions {
            header_only: true,
            ..OpenOptions::default()
        };
        self.open(location, options).await
    }

    /// Changes something about an image, and closes it: others who want to write to it need not wait
    /// until this client is taken for dead.
    pub(crate) async fn change<T>(
        &self,
        location: &Location,
        change: impl AsyncFnOnce(&Image) -> Outcome<T>,
    ) -> Outcome<T> {
        let image = self.open_header(location).await?;
        let changed = change(&image).await;
        if let Err(error) = image.close().await {
            tracing::warn!(image = image.full_name(), %error, "cannot close the image");
        }
        changed
    }
}

/// Opens a pool by name.
async fn open_pool(cluster: &Cluster, name: &str) -> Outcome<Pool> {
    cluster.pool(name).await.map_err(|error| {
        let what = format!("error opening pool '{name}'");
        match error {
            rados::Error::NoSuchPool { .. } => Failure::errno(what, error.errno()),
            _ => Failure::because(what, error.errno(), &error),
        }
    })
}

/// Opens an image of a pool, or the snapshot of it that is named.
async fn open_image(pool: &Pool, location: &Location, options: OpenOptions) -> Outcome<Image> {
    let options = OpenOptions {
        snap: location.snap.clone().map(SnapshotSelector::Name),
        ..options
    };
    Image::open(pool, &location.image, options)
        .await
        .map_err(|error| open_failure(&location.image, &error))
}

/// The failure of opening an image, in upstream's words.
pub(crate) fn open_failure(image: &str, error: &rbd::Error) -> Failure {
    match error {
        rbd::Error::NoSuchSnapshot { .. } => Failure::rbd("error setting snapshot context", error),
        _ => Failure::rbd(format_args!("error opening image {image}"), error),
    }
}
