//! Clusters without authentication (`auth_client_required = none`): one says who one is, and is
//! believed. There are no keys, so the handshake is not signed and the connection not encrypted.

use bytes::Bytes;
use denc::{AuthEntityName, GlobalId, Writer};

use crate::proto::{MODE_AUTHORIZER, MonitorRequest};

/// The payload of AUTH_REQUEST to a monitor. The monitor answers AUTH_DONE at once, with the global
/// id; `global_id` is the one to get back, 0 for a new one.
pub fn monitor_request(name: &AuthEntityName, global_id: GlobalId) -> Bytes {
    Writer::encode(&MonitorRequest {
        name: name.clone(),
        global_id,
    })
}

/// The payload of AUTH_REQUEST to any other service, which answers AUTH_DONE at once
/// (ceph: src/auth/none/AuthNoneProtocol.h).
pub fn service_request(name: &AuthEntityName, global_id: GlobalId) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(MODE_AUTHORIZER).put(name).put(&global_id);
    writer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_the_user_and_the_identity() {
        let name = AuthEntityName::client("a");
        let tail = [8, 0, 0, 0, 1, 0, 0, 0, b'a', 5, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            monitor_request(&name, GlobalId(5))[..],
            [&[10][..], &tail].concat()
        );
        assert_eq!(
            service_request(&name, GlobalId(5))[..],
            [&[1][..], &tail].concat()
        );
    }
}
