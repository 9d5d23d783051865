//! `orbd feature`: turns features of an image on and off.

use rbd::Image;

use super::create::parse_features;
use crate::args::image::{Feature, FeatureChange};
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::session::Session;

/// Changes the features of an image.
pub(crate) async fn run(args: Feature, session: &Session) -> Outcome {
    let (change, is_enabling) = match args {
        Feature::Enable(change) => (change, true),
        Feature::Disable(change) => (change, false),
    };
    let FeatureChange { words, image } = change;
    let mut positionals = Positionals::new(words);
    let location = locate(image, None, &mut positionals, Wanted::IMAGE)?;
    let names = positionals.rest();
    if names.is_empty() {
        return Err(Failure::invalid(
            "at least one feature name must be specified",
        ));
    }
    let features = parse_features(&names)
        .ok_or_else(|| Failure::usage("the argument for option is invalid"))?;
    let change = async |image: &Image| {
        let updated = if is_enabling {
            image.enable_features(features).await
        } else {
            image.disable_features(features).await
        };
        updated.map_err(|error| Failure::rbd("failed to update image features", &error))
    };
    session.change(&location, change).await
}
