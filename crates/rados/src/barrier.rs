//! Making sure that the cluster knows something before it gets to hear of us.

use denc::Epoch;

use crate::Cluster;

impl Cluster {
    /// Sends no operation from now on by a map that is older than `epoch`.
    ///
    /// OSDs that get an operation sent by a newer map than theirs get that map first. So after this,
    /// with the epoch in which another client was blocklisted, nothing of that client's can be carried
    /// out on an object once an operation of ours has been.
    pub fn set_epoch_barrier(&self, epoch: Epoch) {
        self.objecter().set_epoch_barrier(epoch);
    }
}
