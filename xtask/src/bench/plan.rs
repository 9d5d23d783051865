//! What is compared in a run, and on which clusters.

use super::cell::{Cell, Filter, Load, Place, Protection};
use super::sample::Subject;
use super::targets::TARGETS;

/// What there is to choose from: which cells.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Those that targets name.
    Targets,
    All,
    Filters(Vec<Filter>),
}

/// The comparisons on one cluster, in order.
pub(super) fn loads(wanted: &Wanted, subjects: &[Subject], place: Place) -> Vec<(Subject, Load)> {
    let mut loads = Vec::new();
    for subject in subjects {
        let mut of_subject = match wanted {
            Wanted::Targets => {
                let mut all = Load::all();
                all.retain(|load| {
                    let cell = Cell { place, load: *load };
                    TARGETS.iter().any(|target| target.names(*subject, cell))
                });
                all
            }
            Wanted::All => Load::all(),
            Wanted::Filters(filters) => filters.iter().flat_map(Filter::loads).collect(),
        };
        of_subject.sort_unstable();
        of_subject.dedup();
        loads.extend(of_subject.into_iter().map(|load| (*subject, load)));
    }
    loads
}

/// How connections are protected in the clusters that are needed.
pub(super) fn protections(wanted: &Wanted, only_secure: bool) -> &'static [Protection] {
    match wanted {
        _ if only_secure => &[Protection::Secure],
        Wanted::Filters(_) => &[Protection::Crc],
        Wanted::Targets | Wanted::All => &[Protection::Crc, Protection::Secure],
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Store;
    use super::*;

    fn place(protection: Protection) -> Place {
        Place {
            store: Store::Memstore,
            protection,
        }
    }

    #[test]
    fn targets_name_their_cells_each_once() {
        let crc = loads(&Wanted::Targets, &[Subject::Server], place(Protection::Crc));
        let names: Vec<String> = crc.iter().map(|(_, load)| load.to_string()).collect();
        assert_eq!(
            names,
            [
                "4k:randread:1",
                "4k:randread:32",
                "4k:randwrite:1",
                "4k:randwrite:32",
                "64k:randread:32",
                "64k:randwrite:32",
                "4m:read:32",
                "4m:write:32"
            ]
        );
        let secure = loads(
            &Wanted::Targets,
            &[Subject::Server],
            place(Protection::Secure),
        );
        assert_eq!(secure.len(), 2);
    }

    #[test]
    fn filters_apply_to_every_subject() {
        let filter = "4k:randread:32".parse().unwrap();
        let wanted = Wanted::Filters(vec![filter]);
        let subjects = [Subject::Server, Subject::Library];
        let loads = loads(&wanted, &subjects, place(Protection::Crc));
        assert_eq!(loads.len(), 2);
        assert_eq!(protections(&wanted, false), [Protection::Crc]);
        assert_eq!(protections(&wanted, true), [Protection::Secure]);
    }
}
