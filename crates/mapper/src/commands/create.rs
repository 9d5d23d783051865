//! `orbd create`: an empty image. What is said here about layout and features holds for imported
//! images too.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Errno, Pool};
use rbd::{CreateOptions, Features, Image, InvalidOptions, OpenOptions};

use crate::args::create::{Create, CreationOptions};
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::{Session, open_failure};

/// Makes an image.
pub(crate) async fn run(args: Create, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(args.image, None, &mut positionals, Wanted::NEW_IMAGE)?;
    let wanted = Wish::new(args.creation)?;
    let size_bytes = args
        .size
        .ok_or_else(|| Failure::invalid("must specify --size <M/G/T>"))?;
    let pool = session.pool_of(&location).await?;
    let plan = wanted.plan(session)?;
    plan.create(&pool, &location.image, size_bytes)
        .await
        .map_err(|error| create_failure("create error", &error))?;
    if !args.thick_provision {
        return Ok(());
    }
    let mut progress = Progress::new("Thick provisioning", args.no_progress);
    let filled = fill(&pool, &location.image, &mut progress).await;
    if filled.is_err() {
        discard_new(&pool, &location.image).await;
    }
    progress.end(filled)
}

/// What new images are to look like as far as it was typed.
#[derive(Debug)]
pub(crate) struct Wish {
    args: CreationOptions,
    features: Option<Features>,
}

impl Wish {
    /// # Errors
    /// If a feature is not known, the format is not 2, or a part of the striping is 0.
    pub(crate) fn new(args: CreationOptions) -> Outcome<Self> {
        if args.image_format.as_deref() == Some("1") {
            return Err(Failure::invalid(
                "image format 1 is deprecated: images are made in format 2",
            ));
        }
        if args.new_format {
            eprintln!("orbd: --new-format is deprecated, use --image-format 2");
        }
        if args.order.is_some() {
            eprintln!("orbd: --order is deprecated, use --object-size");
        }
        if let (Some(0), _) | (_, Some(0)) = (args.stripe_unit, args.stripe_count) {
            return Err(Failure::invalid(
                "create error: (22) Invalid argument: neither stripe unit nor stripe count may be 0",
            ));
        }
        let features = match args.image_feature.as_slice() {
            [] => None,
            typed => Some(parse_features(typed).ok_or_else(|| {
                Failure::usage("the argument for option '--image-feature' is invalid")
            })?),
        };
        Ok(Self { args, features })
    }

    /// Adds the configuration, which is settled once the cluster has been connected to.
    ///
    /// # Errors
    /// If an option of the configuration is not of its kind.
    pub(crate) fn plan(self, session: &Session) -> Outcome<Plan> {
        let Self { args, features } = self;
        let defaults = session.defaults()?;
        let features = match features {
            Some(features) => features,
            None => session.configured_features()?.unwrap_or(DEFAULT_FEATURES),
        };
        let mut options = CreateOptions::new(0);
        options.order = match (args.order, args.object_size) {
            (Some(order), _) => order,
            (None, Some(size)) => nearest_order(size),
            (None, None) => defaults.order,
        };
        options.features = if args.image_shared {
            features.without(SINGLE_CLIENT)
        } else {
            features
        };
        match (args.stripe_unit, args.stripe_count) {
            (None, None) => {
                options.stripe_unit = defaults.stripe_unit.0;
                options.stripe_count = defaults.stripe_count;
            }
            (unit, count) => {
                options.stripe_unit = unit.unwrap_or(0);
                options.stripe_count = count.unwrap_or(0);
            }
        }
        Ok(Plan {
            options,
            data_pool: args.data_pool.or(defaults.data_pool),
        })
    }
}

/// What new images are to look like, options and configuration put together.
#[derive(Debug)]
pub(crate) struct Plan {
    options: CreateOptions,
    data_pool: Option<String>,
}

impl Plan {
    /// The size of the objects in bytes, if it can be one.
    pub(crate) fn object_size(&self) -> Option<u64> {
        1_u64.checked_shl(self.options.order.into())
    }

    /// Makes an image of `size_bytes` bytes.
    pub(crate) async fn create(&self, pool: &Pool, name: &str, size_bytes: u64) -> rbd::Result<()> {
        let mut options = self.options.clone();
        options.size_bytes = size_bytes;
        if let Some(name) = &self.data_pool {
            options.data_pool = Some(pool.cluster().pool(name).await?);
        }
        rbd::create(pool, name, &options).await
    }
}

/// The failure, with upstream's exit status.
pub(crate) fn create_failure(what: &str, error: &rbd::Error) -> Failure {
    match error {
        rbd::Error::InvalidOptions {
            reason: InvalidOptions::ObjectSize,
            ..
        } => Failure::because(what, EDOM, error),
        _ => Failure::rbd(what, error),
    }
}

/// Takes back an image that was made but could not be filled, because of an error that says more
/// than one of this.
pub(crate) async fn discard_new(pool: &Pool, name: &str) {
    if let Err(error) = rbd::remove(pool, name, |_| {}).await {
        eprintln!(
            "orbd: {}",
            Failure::rbd(format_args!("cannot remove {name} again"), &error)
        );
    }
}

/// Writes zeros to all of an image.
async fn fill(pool: &Pool, name: &str, progress: &mut Progress) -> Outcome {
    let image = Image::open(pool, name, OpenOptions::default())
        .await
        .map_err(|error| open_failure(name, &error))?;
    let failed = |error: rbd::Error| Failure::rbd("error writing to image", &error);
    image.check_writable().map_err(failed)?;
    let size = image.size_bytes();
    let chunk = image.object_size();
    let zeros = Bytes::from(vec![0; usize::try_from(chunk).unwrap_or(0)]);
    let offsets = (0..size.div_ceil(chunk)).map(|index| index * chunk);
    let mut written = stream::iter(offsets)
        .map(|offset| {
            let len = chunk.min(size - offset);
            let data = zeros.slice(..usize::try_from(len).unwrap_or(zeros.len()));
            let image = &image;
            async move { image.write(offset, data).await.map(|()| offset + len) }
        })
        .buffered(WRITES_IN_FLIGHT);
    while let Some(done) = written.try_next().await.map_err(failed)? {
        progress.update(done, size);
    }
    image.close().await.map_err(failed)
}

/// Names separated by commas, none in an empty word.
pub(super) fn parse_features(typed: &[String]) -> Option<Features> {
    typed
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .try_fold(Features::NONE, |all, name| {
            // Numbers are for the configuration only.
            let feature: Features = name.parse().ok()?;
            (feature.to_string() == name).then_some(all | feature)
        })
}

/// The power of two that is nearest to an object size, in logarithms, as upstream rounds it.
fn nearest_order(size: u64) -> u8 {
    let floor = size.checked_ilog2().unwrap_or(0);
    // log2(size) >= floor + 1/2
    let rounds_up = u128::from(size) * u128::from(size) >= 1 << (2 * floor + 1);
    u8::try_from(floor + u32::from(rounds_up)).unwrap_or(u8::MAX)
}

/// Features that are on where nobody said anything, as upstream has it.
const DEFAULT_FEATURES: Features = Features::DEFAULT;
/// Features for one client at a time (ceph: src/include/rbd/features.h, `RBD_FEATURES_SINGLE_CLIENT`).
const SINGLE_CLIENT: Features = Features::MUTABLE;
/// A number out of its domain.
const EDOM: Errno = Errno(33);
const WRITES_IN_FLIGHT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;

    #[test]
    fn object_sizes_are_rounded_as_by_rbd() {
        let cases = Recording::load("create");
        let made: serde_json::Value =
            serde_json::from_str(&Recording::find(&cases, "info of it").stdout).unwrap();
        assert_eq!(
            Some(u64::from(nearest_order(3 << 20))),
            made["order"].as_u64()
        );
        for (size, order) in [
            (1 << 22, 22),
            (0, 0),
            (1, 0),
            (4096, 12),
            (5792, 12),
            (5793, 13),
        ] {
            assert_eq!(nearest_order(size), order, "{size}");
        }
        assert_eq!(nearest_order(u64::MAX), 64);
    }

    #[test]
    fn features_are_names() {
        let parse = |text: &str| parse_features(&[text.to_owned()]);
        assert_eq!(parse("layering,exclusive-lock").map(|f| f.0), Some(5));
        assert_eq!(parse(""), Some(Features::NONE));
        assert_eq!(parse("nosuch"), None);
        assert_eq!(parse("5"), None);
    }
}
