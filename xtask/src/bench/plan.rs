//! What is compared in a run, and on which clusters.

use super::cell::{Cell, Filter, Load, Order, Place, Protection, Work};
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

/// The loads on one cluster, in order.
pub(super) fn loads(wanted: &Wanted, subject: Subject, place: Place) -> Vec<(Subject, Load)> {
    let mut loads = match wanted {
        Wanted::Targets => of_targets(subject, place),
        Wanted::All => Load::all(),
        Wanted::Filters(filters) => filters.iter().flat_map(Filter::loads).collect(),
    };
    if subject == Subject::Objects {
        // Objects are replaced and read as a whole, in no order.
        loads.retain(|load| load.order == Order::Random && load.work != Work::Mix);
    }
    loads.sort_unstable();
    loads.dedup();
    loads.into_iter().map(|load| (subject, load)).collect()
}

fn of_targets(subject: Subject, place: Place) -> Vec<Load> {
    // No target is set for objects, but it is of interest how the two libraries compare.
    let subject = match subject {
        Subject::Objects => Subject::Library,
        subject => subject,
    };
    let mut all = Load::all();
    all.retain(|load| {
        let cell = Cell { place, load: *load };
        TARGETS.iter().any(|target| target.names(subject, cell))
    });
    all
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
        let crc = loads(&Wanted::Targets, Subject::Server, place(Protection::Crc));
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
        let secure = loads(&Wanted::Targets, Subject::Server, place(Protection::Secure));
        assert_eq!(secure.len(), 2);
    }

    #[test]
    fn filters_name_loads_and_objects_have_no_order() {
        let filter = "4k:*:32".parse().unwrap();
        let wanted = Wanted::Filters(vec![filter]);
        let of = |subject| loads(&wanted, subject, place(Protection::Crc)).len();
        assert_eq!(of(Subject::Server), 6);
        assert_eq!(of(Subject::Objects), 2);
        assert_eq!(protections(&wanted, false), [Protection::Crc]);
        assert_eq!(protections(&wanted, true), [Protection::Secure]);
    }
}
