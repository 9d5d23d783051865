//! `orbd rm`: removes an image.

use crate::args::image::Remove;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::Session;

/// Removes an image.
pub(crate) async fn run(args: Remove, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(args.image, None, &mut positionals, Wanted::IMAGE)?;
    let pool = session.pool_of(&location).await?;
    let mut progress = Progress::new("Removing image", args.no_progress);
    let removed = rbd::remove(&pool, &location.image, |step| {
        if step.done < step.total {
            progress.update(step.done, step.total);
        }
    })
    .await;
    progress.end(removed).map_err(|error| failure(&error))
}

fn failure(error: &rbd::Error) -> Failure {
    let errno = error.errno();
    match error {
        rbd::Error::HasSnapshots { .. } => Failure::plain(
            errno,
            "image has snapshots - these must be deleted with 'rbd snap purge' before the image can be removed.",
        ),
        rbd::Error::InUse { watchers, .. } => Failure::plain(
            errno,
            format_args!("error: image still has watchers: {watchers}"),
        )
        .hint(
            "the image is still open or the client using it crashed. \
             Try again after closing/unmapping it or waiting 30s for the crashed client to timeout.",
        ),
        _ => Failure::rbd("delete error", error),
    }
}
