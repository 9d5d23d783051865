//! Whether a map says what is there (ceph: src/librbd/operation/CheckObjectMapRequest.cc).

use std::sync::Arc;

use denc::SnapId;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::bit_vector::{BitVector, ObjectState};
use super::keeper::ObjectMap;
use super::survey::Survey;
use crate::error::InvalidOptions;
use crate::progress::{Counter, OBJECTS_IN_FLIGHT};
use crate::{Error, Features, Image, ImageInfo, Progress, Result, SnapshotSelector};

/// What a check of a map found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectMapCheck {
    /// There is no map, or it makes no sense, or it has too few objects.
    pub unreadable: bool,
    /// Objects of which the map says what must not be said: above all, that they do not exist.
    pub wrong: u64,
    /// Objects of which the map says that they exist, and that do not. That does no harm.
    pub surplus: u64,
}

impl ObjectMapCheck {
    /// Whether the map can be relied on.
    pub const fn is_valid(&self) -> bool {
        !self.unreadable && self.wrong == 0
    }

    /// Takes in an object: what the map says, and what it should say.
    fn compare(&mut self, said: ObjectState, found: ObjectState) {
        if said == found {
            return;
        }
        if said.exists() && !found.exists() {
            self.surplus += 1;
        } else {
            self.wrong += 1;
        }
    }
}

/// What is compared with the objects.
enum Said {
    /// By the map of the head, while it is kept.
    Now(Arc<ObjectMap>),
    /// By the map of a snapshot, which does not change.
    Then(BitVector),
}

impl Said {
    fn len(&self) -> u64 {
        match self {
            Self::Now(map) => map.len(),
            Self::Then(map) => map.len(),
        }
    }

    fn state(&self, object_no: u64) -> Option<ObjectState> {
        match self {
            Self::Now(map) => map.settled_state(object_no),
            Self::Then(map) => map.get(object_no),
        }
    }
}

impl Image {
    /// Compares the map of the image, or of a snapshot of it, with the objects, and marks it as
    /// invalid if it cannot be relied on.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if the image has no object map; [`Error::NoSuchSnapshot`];
    /// [`Error::ReadOnly`]; as [`acquire_lock`](Self::acquire_lock); what the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn check_object_map(
        &self,
        snap: Option<&SnapshotSelector>,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<ObjectMapCheck> {
        self.check_header_writable()?;
        self.acquire_lock().await?;
        let _ownership = self.own_for_maintenance().await?;
        self.refresh().await?;
        let info = self.info();
        self.check_has_object_map(&info)?;
        let version = match snap {
            Some(selector) => info.snapshot(selector, self.full_name())?.id,
            None => SnapId::HEAD,
        };
        let check = self.compare_object_map(&info, version, progress).await?;
        if !check.is_valid() {
            self.invalidate_object_map(&info, version).await?;
            self.refresh().await?;
        }
        Ok(check)
    }

    pub(super) fn check_has_object_map(&self, info: &ImageInfo) -> Result<()> {
        if info.features.contains(Features::OBJECT_MAP) {
            return Ok(());
        }
        Err(Error::InvalidOptions {
            image: self.full_name().to_string(),
            reason: InvalidOptions::Lacks(Features::OBJECT_MAP),
        })
    }

    async fn compare_object_map(
        &self,
        info: &ImageInfo,
        version: SnapId,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<ObjectMapCheck> {
        let mut check = ObjectMapCheck::default();
        let map = match version {
            SnapId::HEAD => self.object_map().map(Said::Now),
            _ => super::load(self.pool(), &info.id, version)
                .await?
                .map(Said::Then),
        };
        let objects = info
            .version(version)
            .map_or(0, |(size, _)| info.layout.object_count(size));
        let Some(map) = map.filter(|map| map.len() >= objects) else {
            check.unreadable = true;
            return Ok(check);
        };
        let mut counter = Counter::new(objects, progress);
        let survey = Survey::of(info, version);
        let mut states = stream::iter(0..objects)
            .map(async |object_no| {
                let before = map.state(object_no);
                let (_, found) = self.survey_object(&survey, object_no).await?;
                Ok::<_, Error>((before, found, map.state(object_no)))
            })
            .buffer_unordered(OBJECTS_IN_FLIGHT);
        while let Some((before, found, behind)) = states.try_next().await? {
            // Of what has changed meanwhile nothing can be said.
            if let Some(said) = before.filter(|_| before == behind) {
                check.compare(said, found);
            }
            counter.step();
        }
        Ok(check)
    }

    /// What the map should say about an object.
    pub(super) async fn survey_object(
        &self,
        survey: &Survey,
        object_no: u64,
    ) -> Result<(u64, ObjectState)> {
        let set = self.list_snaps(object_no).await?;
        let state = set.map_or(ObjectState::Nonexistent, |set| survey.state(&set));
        Ok((object_no, state))
    }
}
