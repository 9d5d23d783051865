//! `orbd device list`: what is mapped on this machine.

use futures_util::future::join_all;
use mapper::state::{Mapping, Registry};

use super::condition::Condition;
use super::failure;
use crate::args::device::List;
use crate::exit::Outcome;
use crate::output::{self, Align, Clock, Document, Report, Table, Value};

/// Prints what is mapped, and how it is getting on.
pub(crate) async fn run(args: List) -> Outcome {
    let style = args.format.style()?;
    let failed = |error: mapper::Error| failure("device list failed", &error);
    let registry = Registry::open(None).map_err(failed)?;
    let mut mappings = registry.list().map_err(failed)?;
    mappings.retain(|mapping| {
        mapping.device.is_some()
            && args
                .device_type
                .is_none_or(|device_type| device_type == mapping.device_type)
    });
    mappings.sort_by(|one, other| {
        let key = |mapping: &Mapping| (mapping.device.clone(), mapping.process.pid());
        key(one).cmp(&key(other))
    });
    let conditions = mappings
        .iter()
        .map(|mapping| Condition::of(registry.directory(), mapping));
    let conditions = join_all(conditions).await;
    let devices = mappings
        .into_iter()
        .zip(conditions)
        .filter_map(|(mapping, condition)| DeviceInfo::new(mapping, condition))
        .collect();
    output::print(&Devices(devices), style)
}

/// Mapped images.
struct Devices(Vec<DeviceInfo>);

/// A mapped image.
#[derive(Clone, Debug)]
struct DeviceInfo {
    id: String,
    pool: String,
    namespace: String,
    image: String,
    snapshot: Option<String>,
    device: String,
    condition: Condition,
}

impl DeviceInfo {
    /// None if there is no device yet.
    fn new(mapping: Mapping, condition: Condition) -> Option<Self> {
        let device = mapping.device?;
        Some(Self {
            id: mapping.process.pid().to_string(),
            pool: mapping.spec.pool,
            namespace: mapping.spec.namespace,
            image: mapping.spec.image,
            snapshot: mapping.spec.snapshot,
            device: device.display().to_string(),
            condition,
        })
    }

    /// As the kernel's own client shows an image that is not a snapshot.
    fn snapshot(&self) -> &str {
        self.snapshot.as_deref().unwrap_or("-")
    }
}

impl Report for Devices {
    fn plain(&self, _: &Clock) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let columns = [
            "id",
            "pool",
            "namespace",
            "image",
            "snap",
            "device",
            "state",
        ]
        .map(|name| (name, Align::Left));
        let mut table = Table::new(&columns);
        for device in &self.0 {
            table.row(vec![
                device.id.clone(),
                device.pool.clone(),
                device.namespace.clone(),
                device.image.clone(),
                device.snapshot().to_owned(),
                device.device.clone(),
                device.condition.to_string(),
            ]);
        }
        table.render()
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        let devices = self.0.iter().map(|device| {
            Value::map([
                ("id", (&device.id).into()),
                ("pool", (&device.pool).into()),
                ("namespace", (&device.namespace).into()),
                ("name", (&device.image).into()),
                ("snap", device.snapshot().into()),
                ("device", (&device.device).into()),
                ("state", device.condition.name().into()),
            ])
        });
        Some(Document {
            name: "devices",
            value: Value::list("device", devices),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, render};
    use crate::recording::Recording;

    #[test]
    fn no_devices_print_as_by_rbd() {
        let cases = Recording::load("change");
        for (case, suffix) in [
            ("device list", ""),
            ("showmapped", ""),
            ("device list json", " json"),
            ("device list xml", " xml"),
        ] {
            assert_eq!(
                render(
                    &Devices(Vec::new()),
                    Style::recorded(suffix),
                    &Clock::local()
                ),
                Recording::find(&cases, case).stdout,
                "{case}"
            );
        }
    }

    #[test]
    fn a_device_has_a_line() {
        let devices = Devices(vec![DeviceInfo {
            id: String::from("123"),
            pool: String::from("rbd"),
            namespace: String::new(),
            image: String::from("disk"),
            snapshot: None,
            device: String::from("/dev/nbd0"),
            condition: Condition::Attached,
        }]);
        let plain = render(&devices, Style::recorded(""), &Clock::local());
        let words: Vec<Vec<&str>> = plain
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            words[0],
            [
                "id",
                "pool",
                "namespace",
                "image",
                "snap",
                "device",
                "state"
            ]
        );
        assert_eq!(
            words[1],
            ["123", "rbd", "disk", "-", "/dev/nbd0", "attached"]
        );
    }
}
