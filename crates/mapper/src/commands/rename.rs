//! `orbd mv`: gives an image another name.

use crate::args::image::{ImageOptions, Rename};
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::session::Session;

/// Renames an image within its pool.
pub(crate) async fn run(args: Rename, session: &Session) -> Outcome {
    let (from, to) = resolve(args)?;
    let pool = session.pool_of(&from).await?;
    rbd::rename(&pool, &from.image, &to)
        .await
        .map_err(|error| Failure::rbd("rename error", &error))
}

/// The image and its new name.
fn resolve(args: Rename) -> Outcome<(Location, String)> {
    let mut positionals = Positionals::new(args.specs);
    let from = locate(args.image, None, &mut positionals, Wanted::IMAGE)?;
    let destination = ImageOptions {
        pool: args.dest_pool,
        namespace: args.dest_namespace,
        image: args.dest,
    };
    let to = locate(destination, None, &mut positionals, Wanted::DESTINATION)?;
    // A pool that is not named is that of the image, but not the other way round: as upstream.
    if to.pool.is_some() && to.pool != from.pool {
        let name = |pool: &Option<String>| pool.clone().unwrap_or_default();
        return Err(Failure::invalid(format_args!(
            "mv/rename across pools not supported: source pool: {} dest pool: {}",
            name(&from.pool),
            name(&to.pool)
        )));
    }
    if !to.namespace.is_empty() && to.namespace != from.namespace {
        return Err(Failure::invalid(format_args!(
            "mv/rename across namespaces not supported: source namespace: {} dest namespace: {}",
            from.namespace, to.namespace
        )));
    }
    Ok((from, to.image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, Request, parse};
    use crate::recording::Recording;

    #[test]
    fn the_same_lines_are_refused_as_by_rbd() {
        let mut seen = 0;
        for case in Recording::load("change") {
            if !matches!(case.args[0].as_str(), "mv" | "rename") || case.code == 1 {
                continue;
            }
            let Ok(Request::Run(invocation)) = parse(case.args.iter().map(Into::into)) else {
                panic!("{:?}", case.args);
            };
            let Command::Rename(args) = invocation.command else {
                panic!("{:?}", case.args);
            };
            // Other failures come from the cluster.
            match resolve(args) {
                Err(failure) => {
                    assert_eq!(failure.status(), case.code, "{:?}", case.args);
                    let words = case
                        .stderr
                        .trim_start_matches("rbd: ")
                        .lines()
                        .next()
                        .unwrap();
                    assert!(failure.to_string().starts_with(words), "{failure}");
                }
                Ok(_) => assert_ne!(case.code, 22, "{:?}", case.args),
            }
            seen += 1;
        }
        assert!(seen > 15);
    }
}
