//! Addresses and names, encoded and as text.

use denc::{AuthEntityName, EntityAddr, EntityAddrVec, EntityName};

use crate::{decode, text};

/// Addresses and lists of them.
pub fn addresses(data: &[u8]) {
    decode::<EntityAddr>(data);
    decode::<EntityAddrVec>(data);
    // What is printed can be read again.
    if let Ok(addr) = text(data).parse::<EntityAddr>() {
        assert_eq!(addr.to_string().parse(), Ok(addr));
    }
}

/// Names of daemons and users.
pub fn names(data: &[u8]) {
    decode::<EntityName>(data);
    decode::<AuthEntityName>(data);
    if let Ok(name) = text(data).parse::<AuthEntityName>() {
        assert_eq!(name.to_string().parse().ok(), Some(name));
    }
}
