//! What the exchange is made of (ceph: src/auth/cephx/CephxProtocol.h).
//!
//! These structures have a version in front but no length, so a version can only be read by who
//! knows it; newer ones append fields, which the callers skip.

use bytes::Bytes;
use denc::{AuthEntityName, Decode, Encode, EntityType, GlobalId, Reader, UTime, Writer};

use crate::secret::random_u64;
use crate::{CryptoKey, KeyType, KeyUsage, Random, Result, Secret, Services};

/// First byte of a request to a monitor (ceph: src/auth/Auth.h, `AUTH_MODE_MON`).
pub(crate) const MODE_MON: u8 = 10;
/// First byte of a request to any other service, and the version of the authorizer it is
/// (`AUTH_MODE_AUTHORIZER`).
pub(crate) const MODE_AUTHORIZER: u8 = 1;

/// Asks for a new identity and the AUTH ticket (`CEPHX_GET_AUTH_SESSION_KEY`).
pub(crate) const GET_AUTH_SESSION_KEY: u16 = 0x0100;
/// Asks for tickets to services (`CEPHX_GET_PRINCIPAL_SESSION_KEY`).
pub(crate) const GET_PRINCIPAL_SESSION_KEY: u16 = 0x0200;

/// Who wants to talk to a monitor; the same for every method of authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MonitorRequest {
    pub(crate) name: AuthEntityName,
    /// The identity to reclaim, 0 for a new one.
    pub(crate) global_id: GlobalId,
}

impl Encode for MonitorRequest {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(MODE_MON).put(&self.name).put(&self.global_id);
    }
}

impl Decode for MonitorRequest {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        match reader.u8()? {
            MODE_MON => Ok(Self {
                name: reader.get()?,
                global_id: reader.get()?,
            }),
            other => Err(reader.invalid("authentication mode", other.into())),
        }
    }
}

/// A number that the other side must work into its proof: what a monitor sends in clear and a
/// service encrypted (`CephXServerChallenge`, `CephXAuthorizeChallenge`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Challenge(pub(crate) u64);

impl Encode for Challenge {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(1).u64(self.0);
    }
}

impl Decode for Challenge {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        reader.u64().map(Self)
    }
}

/// A ticket as its holder sees it: bytes to be shown to the service (`CephXTicketBlob`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TicketBlob {
    /// Which of the service's rotating keys opens it.
    pub(crate) secret_id: u64,
    pub(crate) blob: Bytes,
}

impl Encode for TicketBlob {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(1).u64(self.secret_id).blob(&self.blob);
    }
}

impl Decode for TicketBlob {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        Ok(Self {
            secret_id: reader.u64()?,
            blob: reader.get()?,
        })
    }
}

/// The client's proof to a monitor (`CephXAuthenticate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticate {
    pub(crate) client_challenge: u64,
    /// What only a holder of the key can compute: see [`monitor_proof`].
    pub(crate) proof: u64,
    /// The AUTH ticket from before, if any: proof that the global id is ours to reclaim.
    pub(crate) old_ticket: TicketBlob,
    /// Services for which tickets are wanted at the same time.
    pub(crate) wanted: Services,
}

impl Encode for Authenticate {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(3)
            .u64(self.client_challenge)
            .u64(self.proof)
            .put(&self.old_ticket)
            .put(&self.wanted);
    }
}

impl Decode for Authenticate {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 2)?;
        Ok(Self {
            client_challenge: reader.u64()?,
            proof: reader.u64()?,
            old_ticket: reader.get()?,
            wanted: reader.get()?,
        })
    }
}

/// The number that proves to a monitor that the client has `key`
/// (ceph: src/auth/cephx/CephxProtocol.cc, `cephx_calc_client_server_challenge`).
pub(crate) fn monitor_proof(
    key: &CryptoKey,
    server_challenge: u64,
    client_challenge: u64,
    random: &mut Random<'_>,
) -> u64 {
    let challenges = (server_challenge, client_challenge);
    let bytes = if key.kind() == KeyType::AES {
        // The length in front of the ciphertext is part of what is folded.
        let mut writer = Writer::new();
        writer.blob(&key.seal(KeyUsage(0), &challenges, random));
        writer.freeze()
    } else {
        let digest = key.hmac_sha256(&Writer::encode(&challenges));
        Bytes::copy_from_slice(&digest)
    };
    let (words, _odd_bytes) = bytes.as_chunks::<8>();
    words
        .iter()
        .fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
}

/// Which request an answer belongs to, and how it went (`CephXResponseHeader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHeader {
    pub(crate) request: u16,
    pub(crate) status: i32,
}

impl Encode for ResponseHeader {
    fn encode(&self, writer: &mut Writer) {
        writer.u16(self.request).i32(self.status);
    }
}

impl Decode for ResponseHeader {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            request: reader.u16()?,
            status: reader.i32()?,
        })
    }
}

/// The client's half of a new ticket (`CephXServiceTicket`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketSecret {
    pub(crate) session_key: CryptoKey,
    /// How long the ticket is good for, from now.
    pub(crate) validity: UTime,
}

impl Encode for TicketSecret {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(1).put(&self.session_key).put(&self.validity);
    }
}

impl Decode for TicketSecret {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        Ok(Self {
            session_key: reader.get()?,
            validity: reader.get()?,
        })
    }
}

/// A list of new tickets, still encrypted (ceph: `cephx_build_service_ticket_reply`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketReply(pub(crate) Vec<SealedTicket>);

/// One ticket of a [`TicketReply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedTicket {
    pub(crate) service: EntityType,
    /// A [`TicketSecret`], sealed for the client.
    pub(crate) secret: Bytes,
    /// Whether `ticket` is sealed with the session key of the ticket before.
    pub(crate) ticket_is_sealed: bool,
    /// An encoded [`TicketBlob`]; if sealed, that encoding as a blob inside.
    pub(crate) ticket: Bytes,
}

impl Encode for TicketReply {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(1).put(&self.0);
    }
}

impl Decode for TicketReply {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        reader.get().map(Self)
    }
}

impl Encode for SealedTicket {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u32(self.service.0.into())
            .u8(1)
            .put(&self.secret)
            .bool(self.ticket_is_sealed)
            .put(&self.ticket);
    }
}

impl Decode for SealedTicket {
    const MIN_LEN: usize = 4 + 1 + 4 + 1 + 4;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let service = service(reader)?;
        version(reader, 1)?;
        Ok(Self {
            service,
            secret: reader.get()?,
            ticket_is_sealed: reader.bool()?,
            ticket: reader.get()?,
        })
    }
}

/// The client's proof to a service; the last field is sealed (`CephXAuthorizer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorizer {
    pub(crate) global_id: GlobalId,
    pub(crate) service: EntityType,
    pub(crate) ticket: TicketBlob,
    /// An [`Authorize`], sealed with the session key of the ticket.
    pub(crate) authorize: Bytes,
}

impl Encode for Authorizer {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(MODE_AUTHORIZER)
            .put(&self.global_id)
            .u32(self.service.0.into())
            .put(&self.ticket)
            .put(&self.authorize);
    }
}

impl Decode for Authorizer {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        match reader.u8()? {
            MODE_AUTHORIZER => {}
            other => return Err(reader.invalid("authentication mode", other.into())),
        }
        Ok(Self {
            global_id: reader.get()?,
            service: service(reader)?,
            ticket: reader.get()?,
            authorize: reader.get()?,
        })
    }
}

/// The inside of an [`Authorizer`] (`CephXAuthorize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authorize {
    /// What the service must answer with, plus one.
    pub(crate) nonce: u64,
    /// The service's challenge, from which it expects one more; `None` before it made one.
    pub(crate) challenge: Option<u64>,
}

impl Encode for Authorize {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u8(2)
            .u64(self.nonce)
            .bool(self.challenge.is_some())
            .u64(self.challenge.map_or(0, |number| number.wrapping_add(1)));
    }
}

impl Decode for Authorize {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 2)?;
        let nonce = reader.u64()?;
        let present = reader.bool()?;
        let number = reader.u64()?.wrapping_sub(1);
        Ok(Self {
            nonce,
            challenge: present.then_some(number),
        })
    }
}

/// The service's proof (`CephXAuthorizeReply`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthorizeReply {
    pub(crate) nonce_plus_one: u64,
    /// Keys for the connection; empty when it is not to be encrypted.
    pub(crate) connection_secret: Secret,
}

impl Encode for AuthorizeReply {
    fn encode(&self, writer: &mut Writer) {
        if self.connection_secret.is_empty() {
            writer.u8(1).u64(self.nonce_plus_one);
        } else {
            writer
                .u8(2)
                .u64(self.nonce_plus_one)
                .blob(self.connection_secret.as_slice());
        }
    }
}

impl Decode for AuthorizeReply {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let version = version(reader, 1)?;
        let nonce_plus_one = reader.u64()?;
        let connection_secret = if version >= 2 {
            Secret::new(reader.blob()?)
        } else {
            Secret::default()
        };
        Ok(Self {
            nonce_plus_one,
            connection_secret,
        })
    }
}

/// The secret of an encrypted connection to a monitor: a string of any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionSecret(pub(crate) Secret);

impl Encode for ConnectionSecret {
    fn encode(&self, writer: &mut Writer) {
        writer.blob(self.0.as_slice());
    }
}

impl Decode for ConnectionSecret {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.blob().map(Secret::new).map(Self)
    }
}

/// Which tickets to renew (`CephXServiceTicketRequest`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TicketRequest(pub(crate) Services);

impl Encode for TicketRequest {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(1).put(&self.0);
    }
}

impl Decode for TicketRequest {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        version(reader, 1)?;
        reader.get().map(Self)
    }
}

/// The version of a structure, which must be at least `oldest`.
pub(crate) fn version(reader: &mut Reader<'_>, oldest: u8) -> denc::Result<u8> {
    let start = reader.clone();
    let version = reader.u8()?;
    if version < oldest {
        return Err(start.error(denc::DecodeErrorKind::TooOld { version, oldest }));
    }
    Ok(version)
}

/// A service in its wide form.
fn service(reader: &mut Reader<'_>) -> denc::Result<EntityType> {
    let start = reader.clone();
    let number = reader.u32()?;
    u8::try_from(number)
        .map(EntityType)
        .map_err(|_| start.invalid("service", number.into()))
}

/// A challenge for the other side.
pub(crate) fn new_challenge(random: &mut Random<'_>) -> Challenge {
    Challenge(random_u64(random))
}

/// Seals a value as a blob within the structure around it (ceph: `encode_encrypt`).
pub(crate) fn seal_blob(
    key: &CryptoKey,
    usage: KeyUsage,
    value: &impl Encode,
    random: &mut Random<'_>,
) -> Bytes {
    let mut writer = Writer::new();
    writer.blob(&key.seal(usage, value, random));
    writer.freeze()
}

/// Opens what [`seal_blob`] made.
pub(crate) fn open_blob<T: Decode>(
    key: &CryptoKey,
    usage: KeyUsage,
    what: &'static str,
    bytes: &[u8],
) -> Result<T> {
    key.open(usage, what, Reader::new(what, bytes).blob()?)
}

/// Takes bytes for each of these structures in turn, as if they had been decrypted: for fuzzing, as
/// random bytes do not get past decryption.
pub fn decode_any(bytes: &[u8]) {
    fn decode<T: Decode>(bytes: &[u8]) {
        let _ = T::decode_all("anything", bytes);
    }
    decode::<MonitorRequest>(bytes);
    decode::<Challenge>(bytes);
    decode::<TicketBlob>(bytes);
    decode::<Authenticate>(bytes);
    decode::<ResponseHeader>(bytes);
    decode::<TicketSecret>(bytes);
    decode::<TicketReply>(bytes);
    decode::<Authorizer>(bytes);
    decode::<Authorize>(bytes);
    decode::<AuthorizeReply>(bytes);
    decode::<ConnectionSecret>(bytes);
    decode::<TicketRequest>(bytes);
    decode::<CryptoKey>(bytes);
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use denc::DecodeErrorKind;

    use super::*;

    /// Round trip, all cuts, and the versions below `oldest`.
    fn check<T: Encode + Decode + Debug + PartialEq>(value: &T, oldest: u8) {
        let mut bytes = Writer::encode(value).to_vec();
        assert_eq!(&T::decode_all("value", &bytes).unwrap(), value);
        for len in 0..bytes.len() {
            assert!(
                T::decode_all("value", &bytes[..len]).is_err(),
                "cut at {len}"
            );
        }
        for version in 0..oldest {
            bytes[0] = version;
            let error = T::decode_all("value", &bytes).unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::TooOld { version, oldest });
        }
    }

    fn ticket() -> TicketBlob {
        TicketBlob {
            secret_id: 7,
            blob: Bytes::from_static(b"ticket"),
        }
    }

    #[test]
    fn every_structure_is_read_whole_or_not_at_all() {
        let key = CryptoKey::new(KeyType::AES, UTime::default(), &[1; 16]).unwrap();
        let validity = UTime::default();
        check(&Challenge(5), 1);
        check(&ticket(), 1);
        check(
            &TicketSecret {
                session_key: key,
                validity,
            },
            1,
        );
        check(
            &Authenticate {
                client_challenge: 1,
                proof: 2,
                old_ticket: ticket(),
                wanted: Services::CLIENT,
            },
            2,
        );
        for challenge in [None, Some(0), Some(u64::MAX)] {
            check(
                &Authorize {
                    nonce: 1,
                    challenge,
                },
                2,
            );
        }
        for secret in [Secret::default(), Secret::new(&[1; 64])] {
            check(
                &AuthorizeReply {
                    nonce_plus_one: 1,
                    connection_secret: secret.clone(),
                },
                1,
            );
            check(&ConnectionSecret(secret), 0);
        }
        check(&TicketRequest(Services::CLIENT), 1);
        check(
            &TicketReply(vec![SealedTicket {
                service: EntityType::OSD,
                secret: Bytes::from_static(b"secret"),
                ticket_is_sealed: true,
                ticket: Bytes::from_static(b"ticket"),
            }]),
            1,
        );
        check(
            &MonitorRequest {
                name: AuthEntityName::client("a"),
                global_id: GlobalId(1),
            },
            0,
        );
        check(
            &Authorizer {
                global_id: GlobalId(1),
                service: EntityType::OSD,
                ticket: ticket(),
                authorize: Bytes::from_static(b"proof"),
            },
            0,
        );
    }

    /// The sizes that clusters of Ceph 16 and 20 were seen to send in crc mode.
    #[test]
    fn sealed_structures_are_as_long_as_those_of_ceph() {
        for (kind, secret_len, challenge_len) in
            [(KeyType::AES, 20, 32), (KeyType::AES256K, 57, 58)]
        {
            let random: &mut Random<'_> = &mut |bytes| bytes.fill(3);
            let key = CryptoKey::generate(kind, UTime::default(), random).unwrap();
            let empty = ConnectionSecret(Secret::default());
            let secret = seal_blob(&key, KeyUsage::CONNECTION_SECRET, &empty, random);
            assert_eq!(secret.len(), secret_len);
            let challenge = key.seal(KeyUsage::AUTHORIZE_CHALLENGE, &Challenge(1), random);
            assert_eq!(challenge.len(), challenge_len);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            decode_any(&bytes);
        }
    }
}
