//! Making the next epoch (ceph: src/osd/OSDMap.cc, `OSDMap::apply_incremental`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use denc::{Epoch, OsdId};

use crate::osdmap::decode::has_addr;
use crate::osdmap::error::OsdMapError;
use crate::osdmap::flags::OsdState;
use crate::osdmap::incremental::Incremental;
use crate::osdmap::limits::MAX_OSDS;
use crate::osdmap::map::{FULL_AFFINITY, OsdMap, Release};

impl OsdMap {
    /// The map of the next epoch. What does not change is shared with this one.
    ///
    /// # Errors
    /// If the incremental is of another cluster or does not follow upon this epoch, and if it makes
    /// no sense. This map stays as it is.
    pub fn apply(&self, incremental: &Incremental) -> Result<Self, OsdMapError> {
        if incremental.fsid != self.fsid {
            return Err(OsdMapError::OtherCluster {
                expected: self.fsid,
                found: incremental.fsid,
            });
        }
        if self.epoch.0.checked_add(1) != Some(incremental.epoch.0) {
            return Err(OsdMapError::Gap {
                map: self.epoch,
                incremental: incremental.epoch,
            });
        }
        if let Some(full) = incremental.full_map() {
            return applied_full(full, incremental.epoch);
        }
        let mut map = self.clone();
        map.epoch = incremental.epoch;
        map.modified = incremental.modified;
        map.flags = incremental.flags.unwrap_or(map.flags);
        map.resize(incremental)?;
        map.apply_pools(incremental);
        map.apply_osds(incremental)?;
        map.apply_pgs(incremental);
        map.apply_blocklist(incremental);
        map.apply_settings(incremental);
        map.settle();
        Ok(map)
    }

    fn resize(&mut self, incremental: &Incremental) -> Result<(), OsdMapError> {
        let Some(max_osd) = incremental.max_osd else {
            return Ok(());
        };
        let len = u32::try_from(max_osd)
            .ok()
            .filter(|len| *len <= MAX_OSDS)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(OsdMapError::TooManyOsds(max_osd))?;
        Arc::make_mut(&mut self.states).resize(len, OsdState::default());
        Arc::make_mut(&mut self.weights).resize(len, 0);
        if !self.affinities.is_empty() {
            Arc::make_mut(&mut self.affinities).resize(len, FULL_AFFINITY);
        }
        if self.addrs.keys().any(|osd| osd.0 >= max_osd) {
            Arc::make_mut(&mut self.addrs).retain(|osd, _| osd.0 < max_osd);
        }
        Ok(())
    }

    fn apply_pools(&mut self, incremental: &Incremental) {
        self.pool_max = incremental.pool_max.unwrap_or(self.pool_max);
        if !incremental.pools.is_empty() || !incremental.old_pools.is_empty() {
            let pools = Arc::make_mut(&mut self.pools);
            for (&id, pool) in &incremental.pools {
                let mut pool = pool.clone();
                pool.last_change = incremental.epoch;
                pools.insert(id, Arc::new(pool));
            }
            pools.retain(|id, _| !incremental.old_pools.contains(id));
        }
        if !incremental.pool_names.is_empty() || !incremental.old_pools.is_empty() {
            let names = Arc::make_mut(&mut self.pool_names);
            let ids = Arc::make_mut(&mut self.pools_by_name);
            for (&id, name) in &incremental.pool_names {
                if let Some(old) = names.insert(id, name.clone()) {
                    ids.remove(&old);
                }
                ids.insert(name.clone(), id);
            }
            for id in &incremental.old_pools {
                if let Some(old) = names.remove(id)
                    && ids.get(&old) == Some(id)
                {
                    ids.remove(&old);
                }
            }
        }
        self.new_removed_snaps = Arc::new(incremental.removed_snaps.clone());
        let profiles = &mut self.erasure_code_profiles;
        remove(profiles, &incremental.old_erasure_code_profiles);
        insert(profiles, &incremental.erasure_code_profiles);
    }

    /// In this order: an OSD that is destroyed and made anew at once has the properties of the new
    /// one.
    fn apply_osds(&mut self, incremental: &Incremental) -> Result<(), OsdMapError> {
        for (&osd, &weight) in &incremental.weights {
            *slot(&mut self.weights, osd)? = weight;
            if weight > 0 {
                let state = slot(&mut self.states, osd)?;
                *state = state.without(OsdState::AUTOOUT | OsdState::NEW) | OsdState::EXISTS;
            }
        }
        for (&osd, &affinity) in &incremental.affinities {
            self.set_affinity(osd, affinity)?;
        }
        for (&osd, &toggled) in &incremental.states {
            let toggled = if toggled == OsdState::default() {
                OsdState::UP
            } else {
                toggled
            };
            let state = slot(&mut self.states, osd)?;
            if state.contains(OsdState::EXISTS) && toggled.contains(OsdState::EXISTS) {
                *state = OsdState::default();
                self.set_affinity(osd, FULL_AFFINITY)?;
                if self.addrs.contains_key(&osd) {
                    Arc::make_mut(&mut self.addrs).remove(&osd);
                }
            } else {
                state.0 ^= toggled.0;
            }
        }
        for (&osd, addrs) in &incremental.up {
            let state = slot(&mut self.states, osd)?;
            *state = (*state | OsdState::EXISTS | OsdState::UP).without(OsdState::STOP);
            let all = Arc::make_mut(&mut self.addrs);
            if has_addr(addrs) {
                all.insert(osd, addrs.clone());
            } else {
                all.remove(&osd);
            }
        }
        Ok(())
    }

    fn set_affinity(&mut self, osd: OsdId, affinity: u32) -> Result<(), OsdMapError> {
        if self.primary_affinity(osd) == affinity && self.osd_weight(osd).is_some() {
            return Ok(());
        }
        let len = self.states.len();
        Arc::make_mut(&mut self.affinities).resize(len, FULL_AFFINITY);
        *slot(&mut self.affinities, osd)? = affinity;
        Ok(())
    }

    fn apply_pgs(&mut self, incremental: &Incremental) {
        if !incremental.pg_temp.is_empty() {
            let pg_temp = Arc::make_mut(&mut self.pg_temp);
            for (&pg, osds) in &incremental.pg_temp {
                if osds.is_empty() {
                    pg_temp.remove(&pg);
                } else {
                    pg_temp.insert(pg, osds.clone());
                }
            }
        }
        if !incremental.primary_temp.is_empty() {
            let primary_temp = Arc::make_mut(&mut self.primary_temp);
            for (&pg, &osd) in &incremental.primary_temp {
                if osd.0 == -1 {
                    primary_temp.remove(&pg);
                } else {
                    primary_temp.insert(pg, osd);
                }
            }
        }
        insert(&mut self.pg_upmap, &incremental.pg_upmap);
        remove(&mut self.pg_upmap, &incremental.old_pg_upmap);
        insert(&mut self.pg_upmap_items, &incremental.pg_upmap_items);
        remove(&mut self.pg_upmap_items, &incremental.old_pg_upmap_items);
        insert(
            &mut self.pg_upmap_primaries,
            &incremental.pg_upmap_primaries,
        );
        remove(
            &mut self.pg_upmap_primaries,
            &incremental.old_pg_upmap_primaries,
        );
    }

    fn apply_blocklist(&mut self, incremental: &Incremental) {
        if incremental.blocklist.is_empty()
            && incremental.old_blocklist.is_empty()
            && incremental.range_blocklist.is_empty()
            && incremental.old_range_blocklist.is_empty()
        {
            return;
        }
        let blocklist = Arc::make_mut(&mut self.blocklist);
        let lists = [
            (
                &mut blocklist.addrs,
                &incremental.blocklist,
                &incremental.old_blocklist,
            ),
            (
                &mut blocklist.ranges,
                &incremental.range_blocklist,
                &incremental.old_range_blocklist,
            ),
        ];
        for (list, new, old) in lists {
            for (addr, until) in new {
                // An entry that is there stays as it is.
                list.entry(*addr).or_insert(*until);
            }
            for addr in old {
                list.remove(addr);
            }
        }
    }

    fn apply_settings(&mut self, incremental: &Incremental) {
        for (time, new) in [
            (&mut self.last_up_change, incremental.last_up_change),
            (&mut self.last_in_change, incremental.last_in_change),
        ] {
            if !new.is_zero() {
                *time = new;
            }
        }
        for (ratio, new) in [
            (&mut self.ratios.nearfull, incremental.nearfull_ratio),
            (&mut self.ratios.full, incremental.full_ratio),
            (
                &mut self.ratios.backfillfull,
                incremental.backfillfull_ratio,
            ),
        ] {
            if new >= 0.0 {
                *ratio = new;
            }
        }
        if let Some(release) = incremental.require_min_compat_client {
            self.require_min_compat_client = release;
        }
        if let Some(release) = incremental.require_osd_release {
            self.require_osd_release = release;
        }
        if let Some(crush) = &incremental.crush {
            self.crush = Arc::clone(crush);
            if self.require_osd_release >= Release::LUMINOUS {
                self.crush_version = self.crush_version.wrapping_add(1);
            }
        }
    }
}

fn applied_full(full: &OsdMap, incremental: Epoch) -> Result<OsdMap, OsdMapError> {
    if full.epoch != incremental {
        return Err(OsdMapError::WrongFullMap {
            expected: incremental,
            found: full.epoch,
        });
    }
    Ok(full.clone())
}

/// What a map has for an OSD.
fn slot<T: Clone>(values: &mut Arc<Vec<T>>, osd: OsdId) -> Result<&mut T, OsdMapError> {
    let max_osd = u32::try_from(values.len()).unwrap_or(u32::MAX);
    usize::try_from(osd.0)
        .ok()
        .filter(|index| *index < values.len())
        .and_then(|index| Arc::make_mut(values).get_mut(index))
        .ok_or(OsdMapError::NoSuchOsd { osd, max_osd })
}

fn insert<K: Clone + Ord, V: Clone>(map: &mut Arc<BTreeMap<K, V>>, new: &BTreeMap<K, V>) {
    if !new.is_empty() {
        let new = new.iter().map(|(key, value)| (key.clone(), value.clone()));
        Arc::make_mut(map).extend(new);
    }
}

fn remove<K: Clone + Ord, V: Clone>(map: &mut Arc<BTreeMap<K, V>>, old: &BTreeSet<K>) {
    if !old.is_empty() {
        Arc::make_mut(map).retain(|key, _| !old.contains(key));
    }
}
