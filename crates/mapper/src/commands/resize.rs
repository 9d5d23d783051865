//! `orbd resize`: makes an image larger or smaller.

use rbd::Image;

use crate::args::image::Resize;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::Session;

/// Resizes an image.
pub(crate) async fn run(args: Resize, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs.clone());
    let location = locate(args.image.clone(), None, &mut positionals, Wanted::IMAGE)?;
    let size_bytes = args
        .size
        .ok_or_else(|| Failure::invalid("must specify --size <M/G/T>"))?;
    let change = async |image: &Image| resize(image, size_bytes, &args).await;
    session.change(&location, change).await
}

async fn resize(image: &Image, size_bytes: u64, args: &Resize) -> Outcome {
    if size_bytes == image.size_bytes() {
        return Err(Failure::invalid("new size is equal to original size "));
    }
    if size_bytes < image.size_bytes() && !args.allow_shrink {
        return Err(Failure::invalid(
            "shrinking an image is only allowed with the --allow-shrink flag",
        ));
    }
    let mut progress = Progress::new("Resizing image", args.no_progress);
    let resized = image
        .resize(size_bytes, args.allow_shrink, |step| {
            if step.done < step.total {
                progress.update(step.done, step.total);
            }
        })
        .await;
    progress
        .end(resized)
        .map_err(|error| Failure::rbd("resize error", &error))
}
