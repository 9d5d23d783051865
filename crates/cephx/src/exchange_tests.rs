//! Both sides of the exchange against each other, for all mixtures of key types.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use denc::{AuthEntityName, EntityType, GlobalId};

use crate::server::{Accepted, AuthServer, MonitorExchange};
use crate::{
    ClientSession, ConnectionKeys, CryptoKey, Error, Grant, KeyType, Result, Secret,
    ServiceHandshake, Services,
};

const TYPES: [KeyType; 2] = [KeyType::AES, KeyType::AES256K];
const HOUR: Duration = Duration::from_secs(3600);
const ID: GlobalId = GlobalId(4123);

/// Numbers that do not repeat, so that two keys or challenges are never equal by accident.
struct Numbers(Rc<Cell<u64>>);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    fn fill(&self) -> impl FnMut(&mut [u8]) + use<> {
        let state = Rc::clone(&self.0);
        move |bytes| {
            for byte in bytes {
                let next = state
                    .get()
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.set(next);
                *byte = next.to_be_bytes()[0];
            }
        }
    }
}

struct World {
    numbers: Numbers,
    now: SystemTime,
    server: AuthServer,
    session: ClientSession,
    secure: bool,
}

impl World {
    fn new(user: KeyType, service: KeyType, session: KeyType) -> Self {
        let numbers = Numbers::new(1);
        let key =
            |kind| CryptoKey::generate(kind, denc::UTime::default(), &mut numbers.fill()).unwrap();
        let name = AuthEntityName::client("admin");
        let mut server = AuthServer::new(session);
        let user = key(user);
        server.set_user(name.clone(), user.clone());
        for kind in [EntityType::AUTH, EntityType::OSD, EntityType::MGR] {
            server.set_service(kind, key(service));
        }
        Self {
            numbers,
            now: SystemTime::UNIX_EPOCH + 1_000_000 * HOUR,
            server,
            session: ClientSession::new(name, user),
            secure: true,
        }
    }

    fn aes() -> Self {
        Self::new(KeyType::AES, KeyType::AES, KeyType::AES)
    }

    fn other_key(&self, kind: KeyType) -> CryptoKey {
        CryptoKey::generate(kind, denc::UTime::default(), &mut self.numbers.fill()).unwrap()
    }

    /// The exchange with a monitor, not adopted.
    fn ask_monitor(
        &mut self,
        new_id: GlobalId,
    ) -> Result<(ConnectionKeys, Grant, Accepted, MonitorExchange)> {
        let random = &mut self.numbers.fill();
        let mut client = self.session.monitor_handshake();
        let (mut monitor, challenge) = self.server.begin_monitor(&client.request(), random)?;
        let proof = client.handle_more(&challenge, random)?;
        let accepted =
            monitor.handle(&self.server, &proof, new_id, self.secure, self.now, random)?;
        let (keys, grant) = client.handle_done(accepted.global_id, &accepted.payload, self.now)?;
        Ok((keys, grant, accepted, monitor))
    }

    fn log_in(&mut self) -> MonitorExchange {
        let (keys, grant, accepted, monitor) = self.ask_monitor(ID).unwrap();
        assert_eq!(keys, accepted.keys);
        assert_eq!(grant.global_id(), ID);
        self.session.adopt(grant);
        monitor
    }

    fn start_service(&self, service: EntityType) -> Result<ServiceHandshake> {
        self.session
            .service_handshake(service, self.now, &mut self.numbers.fill())
    }

    fn ask_service(&mut self, service: EntityType) -> Result<(ConnectionKeys, Accepted)> {
        let mut client = self.start_service(service)?;
        let random = &mut self.numbers.fill();
        let request = client.request(random);
        let (exchange, challenge) = self
            .server
            .begin_service(service, &request, self.now, random)?;
        let proof = client.handle_more(&challenge, random)?;
        let accepted = exchange.handle(&self.server, &proof, self.secure, self.now, random)?;
        Ok((client.handle_done(&accepted.payload)?, accepted))
    }

    fn renew(&mut self, monitor: &mut MonitorExchange) -> Services {
        let random = &mut self.numbers.fill();
        let renewal = self.session.renewal(self.now, random).unwrap();
        let answer = monitor
            .handle(
                &self.server,
                &renewal.payload(),
                GlobalId(0),
                false,
                self.now,
                random,
            )
            .unwrap();
        self.session
            .handle_renewal(&renewal, &answer.payload, self.now)
            .unwrap();
        renewal.asked()
    }
}

#[test]
fn all_mixtures_of_key_types_get_in() {
    for user in TYPES {
        for service in TYPES {
            for session in TYPES {
                for secure in [false, true] {
                    let mut world = World::new(user, service, session);
                    world.secure = secure;
                    world.log_in();
                    for kind in [EntityType::OSD, EntityType::MGR] {
                        let (keys, accepted) = world.ask_service(kind).unwrap();
                        assert_eq!(keys, accepted.keys);
                        assert_eq!(keys.session_key.len(), session.secret_len().unwrap());
                        assert_eq!(keys.connection_secret.len(), if secure { 64 } else { 0 });
                        assert_eq!(accepted.global_id, ID);
                    }
                }
            }
        }
    }
}

#[test]
fn a_wrong_key_and_an_unknown_user_are_refused() {
    for kind in TYPES {
        let mut world = World::new(kind, KeyType::AES, KeyType::AES);
        let key = world.other_key(kind);
        world.session = ClientSession::new(AuthEntityName::client("admin"), key.clone());
        assert_eq!(
            world.ask_monitor(ID).unwrap_err(),
            Error::ClientUnproven { what: "the proof" }
        );
        let nobody = AuthEntityName::client("nobody");
        world.session = ClientSession::new(nobody.clone(), key);
        assert_eq!(
            world.ask_monitor(ID).unwrap_err(),
            Error::UnknownUser(nobody)
        );
    }
}

#[test]
fn a_monitor_that_does_not_know_the_key_is_refused() {
    for kind in TYPES {
        let world = World::new(kind, KeyType::AES, KeyType::AES);
        let mut client = world.session.monitor_handshake();
        let random = &mut world.numbers.fill();
        let (_, challenge) = world
            .server
            .begin_monitor(&client.request(), random)
            .unwrap();
        client.handle_more(&challenge, random).unwrap();

        // The impostor lets everyone in, with tickets sealed by a key of its own.
        let mut impostor = World::new(kind, KeyType::AES, KeyType::AES);
        let key = impostor.other_key(kind);
        impostor
            .server
            .set_user(AuthEntityName::client("admin"), key.clone());
        impostor.session = ClientSession::new(AuthEntityName::client("admin"), key);
        let (_, _, accepted, _) = impostor.ask_monitor(ID).unwrap();
        assert_eq!(
            client
                .handle_done(ID, &accepted.payload, world.now)
                .unwrap_err(),
            Error::ServerUnproven {
                service: EntityType::MON
            }
        );
    }
}

#[test]
fn an_osd_that_cannot_read_the_ticket_is_refused() {
    for kind in TYPES {
        let mut world = World::new(KeyType::AES, KeyType::AES, kind);
        world.log_in();
        let stranger = world.other_key(kind);
        let unproven = Error::ServerUnproven {
            service: EntityType::OSD,
        };

        let mut client = world.start_service(EntityType::OSD).unwrap();
        let random = &mut world.numbers.fill();
        let usage = crate::KeyUsage::AUTHORIZE_CHALLENGE;
        let challenge = stranger.seal(usage, &crate::proto::Challenge(5), random);
        assert_eq!(
            client.handle_more(&challenge, random).unwrap_err(),
            unproven
        );

        let answer = |key: &CryptoKey, plus, random: &mut crate::Random<'_>| {
            let reply = crate::proto::AuthorizeReply {
                nonce_plus_one: plus,
                connection_secret: Secret::default(),
            };
            crate::proto::seal_blob(key, crate::KeyUsage::AUTHORIZE_REPLY, &reply, random)
        };
        let request = client.request(random);
        let (_, challenge) = world
            .server
            .begin_service(EntityType::OSD, &request, world.now, random)
            .unwrap();
        client.handle_more(&challenge, random).unwrap();
        let forged = answer(&stranger, 1, random);
        assert_eq!(client.handle_done(&forged).unwrap_err(), unproven);
    }
}

#[test]
fn an_answer_made_for_another_connection_is_refused() {
    for kind in TYPES {
        let mut world = World::new(KeyType::AES, KeyType::AES, kind);
        world.log_in();
        let (_, recorded) = world.ask_service(EntityType::OSD).unwrap();
        let mut client = world.start_service(EntityType::OSD).unwrap();
        let random = &mut world.numbers.fill();
        let (_, challenge) = world
            .server
            .begin_service(EntityType::OSD, &client.request(random), world.now, random)
            .unwrap();
        client.handle_more(&challenge, random).unwrap();
        assert_eq!(
            client.handle_done(&recorded.payload).unwrap_err(),
            Error::ServerUnproven {
                service: EntityType::OSD
            }
        );
    }
}

#[test]
fn a_reconnect_reclaims_the_identity() {
    for user in TYPES {
        for session in TYPES {
            let mut world = World::new(user, KeyType::AES256K, session);
            world.log_in();
            // The monitor would give another one to a stranger.
            let (_, grant, ..) = world.ask_monitor(GlobalId(9)).unwrap();
            assert_eq!(grant.global_id(), ID);
            world.session.adopt(grant);
            world.ask_service(EntityType::OSD).unwrap();
        }
    }
}

#[test]
fn an_identity_without_a_good_ticket_is_replaced() {
    let mut world = World::aes();
    world.log_in();
    world.now += 73 * HOUR;
    assert_eq!(
        world.ask_monitor(GlobalId(9)).unwrap_err(),
        Error::ClientUnproven { what: "the ticket" }
    );
    world.session.doubt_identity(true);
    let (_, grant, ..) = world.ask_monitor(GlobalId(9)).unwrap();
    assert_eq!(grant.global_id(), GlobalId(9));
    world.session.adopt(grant);
    let (_, accepted) = world.ask_service(EntityType::OSD).unwrap();
    assert_eq!(accepted.global_id, GlobalId(9));
    assert_eq!(world.session.claimed_identity(), GlobalId(9));
}

#[test]
fn an_identity_in_doubt_is_kept_until_there_is_another() {
    let mut world = World::aes();
    let good = world.session.key.clone();
    world.log_in();
    world.session.set_key(world.other_key(KeyType::AES));
    world.session.doubt_identity(true);
    assert_eq!(world.session.claimed_identity(), GlobalId(0));
    assert!(world.ask_monitor(GlobalId(9)).is_err());
    // It was the key: services take the tickets as before.
    let (_, accepted) = world.ask_service(EntityType::OSD).unwrap();
    assert_eq!(accepted.global_id, ID);
    world.session.set_key(good);
    world.session.doubt_identity(false);
    let (_, grant, ..) = world.ask_monitor(GlobalId(9)).unwrap();
    assert_eq!(grant.global_id(), ID);
}

#[test]
fn a_new_identity_drops_the_tickets_of_the_old() {
    let mut world = World::aes();
    world.log_in();
    world.session.adopt(Grant {
        global_id: GlobalId(9),
        server_challenge: 0,
        asked: Services::default(),
        tickets: Vec::new(),
    });
    assert_eq!(
        world.ask_service(EntityType::OSD).unwrap_err(),
        Error::NoTicket {
            service: EntityType::OSD
        }
    );
}

#[test]
fn tickets_are_renewed_in_their_last_quarter() {
    for kind in TYPES {
        let mut world = World::new(kind, kind, kind);
        let mut monitor = world.log_in();
        assert!(world.session.due(world.now).is_empty());
        assert!(
            world
                .session
                .renewal(world.now, &mut world.numbers.fill())
                .is_none()
        );
        assert_eq!(
            world.session.next_due(),
            Some(world.now + Duration::from_secs(45 * 60))
        );

        world.now += Duration::from_secs(45 * 60);
        let services = [EntityType::OSD, EntityType::MGR].into_iter().collect();
        assert_eq!(world.session.due(world.now), services);
        assert!(world.session.has_ticket(EntityType::OSD, world.now));
        assert_eq!(world.renew(&mut monitor), services);
        assert!(world.session.due(world.now).is_empty());

        // Beyond the expiry of the first tickets.
        world.now += Duration::from_secs(30 * 60);
        world.ask_service(EntityType::OSD).unwrap();

        world.now += 54 * HOUR;
        assert!(!world.session.has_ticket(EntityType::OSD, world.now));
        assert!(world.session.has_ticket(EntityType::AUTH, world.now));
        assert_eq!(world.renew(&mut monitor), Services::CLIENT);
        assert!(world.session.due(world.now).is_empty());
        world.ask_service(EntityType::MGR).unwrap();
    }
}

#[test]
fn an_expired_ticket_is_not_shown() {
    let mut world = World::aes();
    world.log_in();
    world.now += HOUR;
    assert_eq!(
        world.ask_service(EntityType::OSD).unwrap_err(),
        Error::NoTicket {
            service: EntityType::OSD
        }
    );
}

#[test]
fn a_refused_ticket_is_replaced() {
    let mut world = World::aes();
    let mut monitor = world.log_in();
    let key = world.other_key(KeyType::AES);
    world.server.set_service(EntityType::OSD, key);
    let refused = world.start_service(EntityType::OSD).unwrap().ticket();
    assert!(world.ask_service(EntityType::OSD).is_err());

    world.session.invalidate(refused);
    let due = [EntityType::OSD, EntityType::AUTH].into_iter().collect();
    assert_eq!(world.session.due(world.now), due);
    world.renew(&mut monitor);
    world.ask_service(EntityType::OSD).unwrap();

    // A second connection hears late that the old ticket was no good.
    world.session.invalidate(refused);
    assert!(world.session.due(world.now).is_empty());
}

#[test]
fn services_that_are_not_granted_are_not_asked_for_again() {
    let mut world = World::aes();
    let key = world.other_key(KeyType::AES);
    world.server = AuthServer::new(KeyType::AES);
    world
        .server
        .set_user(AuthEntityName::client("admin"), key.clone());
    world.server.set_service(EntityType::AUTH, key.clone());
    world.session = ClientSession::new(AuthEntityName::client("admin"), key);
    world.log_in();
    assert!(world.session.due(world.now).is_empty());
    assert!(!world.session.has_ticket(EntityType::OSD, world.now));
    // Unless somebody insists.
    world.session.ask_for_declined();
    let both = Services::CLIENT.without(Services::default().with(EntityType::AUTH));
    assert_eq!(world.session.due(world.now), both);
}

#[test]
fn steps_out_of_order_are_errors() {
    let mut world = World::aes();
    let mut client = world.session.monitor_handshake();
    let out_of_order = |error| matches!(error, Error::OutOfOrder { .. });
    assert!(out_of_order(
        client.handle_done(ID, &[], world.now).unwrap_err()
    ));
    let random = &mut world.numbers.fill();
    let (_, challenge) = world
        .server
        .begin_monitor(&client.request(), random)
        .unwrap();
    client.handle_more(&challenge, random).unwrap();
    assert!(out_of_order(
        client.handle_more(&challenge, random).unwrap_err()
    ));

    world.log_in();
    let mut client = world.start_service(EntityType::OSD).unwrap();
    assert!(out_of_order(client.handle_done(&[]).unwrap_err()));
    let random = &mut world.numbers.fill();
    let (_, challenge) = world
        .server
        .begin_service(EntityType::OSD, &client.request(random), world.now, random)
        .unwrap();
    client.handle_more(&challenge, random).unwrap();
    assert!(out_of_order(
        client.handle_more(&challenge, random).unwrap_err()
    ));
}

/// Cuts a payload at every byte and changes every byte; nothing may panic, and every cut must be
/// an error.
fn damage(payload: &[u8], mut handle: impl FnMut(&[u8]) -> bool) {
    for len in 0..payload.len() {
        assert!(!handle(&payload[..len]), "cut at {len}");
    }
    for index in 0..payload.len() {
        let mut changed = payload.to_vec();
        changed[index] ^= 0x80;
        handle(&changed);
    }
    assert!(handle(payload));
}

#[test]
fn every_cut_of_every_payload_is_an_error() {
    for kind in TYPES {
        let mut world = World::new(kind, kind, kind);
        let now = world.now;
        world.log_in();

        let client = || world.session.monitor_handshake();
        let random = &mut Numbers::new(7).fill();
        let server = &world.server;
        let request = client().request();
        damage(&request, |bytes| {
            server.begin_monitor(bytes, random).is_ok()
        });
        let (_, challenge) = server.begin_monitor(&request, random).unwrap();
        damage(&challenge, |bytes| {
            client().handle_more(bytes, random).is_ok()
        });

        let numbers = Numbers::new(7);
        let mut answering = client();
        let (mut monitor, challenge) = server.begin_monitor(&request, &mut numbers.fill()).unwrap();
        let proof = answering
            .handle_more(&challenge, &mut numbers.fill())
            .unwrap();
        damage(&proof, |bytes| {
            monitor
                .handle(server, bytes, ID, true, now, &mut numbers.fill())
                .is_ok()
        });
        let accepted = monitor
            .handle(server, &proof, ID, true, now, &mut numbers.fill())
            .unwrap();
        damage(&accepted.payload, |bytes| {
            let mut waiting = client();
            waiting
                .handle_more(&challenge, &mut Numbers::new(8).fill())
                .unwrap();
            waiting.handle_done(ID, bytes, now).is_ok()
        });

        let osd = EntityType::OSD;
        let client = || {
            world
                .session
                .service_handshake(osd, now, &mut Numbers::new(9).fill())
                .unwrap()
        };
        let random = &mut Numbers::new(10).fill();
        let request = client().request(random);
        damage(&request, |bytes| {
            server.begin_service(osd, bytes, now, random).is_ok()
        });
        let (_, challenge) = server.begin_service(osd, &request, now, random).unwrap();
        damage(&challenge, |bytes| {
            client().handle_more(bytes, random).is_ok()
        });
        let mut answering = client();
        let (exchange, challenge) = server.begin_service(osd, &request, now, random).unwrap();
        let proof = answering.handle_more(&challenge, random).unwrap();
        let accepted = exchange.handle(server, &proof, true, now, random).unwrap();
        damage(&accepted.payload, |bytes| {
            let mut waiting = client();
            waiting
                .handle_more(&challenge, &mut Numbers::new(11).fill())
                .unwrap();
            waiting.handle_done(bytes).is_ok()
        });
    }
}
