//! The commands of the kernel's NBD driver, over generic netlink.
//!
//! Source: linux, `include/uapi/linux/nbd-netlink.h` and `include/uapi/linux/nbd.h`.

use std::io;
use std::os::fd::RawFd;

use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::err::RouterError;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder};
use neli::nl::NlPayload;
use neli::router::asynchronous::NlRouter;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;
use neli::{Size, ToBytes};

use crate::error::{Error, Result};

/// A connection to the driver.
pub(super) struct NbdDriver {
    router: NlRouter,
    family: u16,
}

/// What the driver is to be told of a device to be.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    /// The device's number; any that is free if there is none.
    pub(super) index: Option<u32>,
    pub(super) size_bytes: u64,
    pub(super) sector_bytes: u32,
    /// As in the protocol.
    pub(super) transmission_flags: u16,
    /// Seconds for which requests are kept when all sockets are gone.
    pub(super) dead_connection_timeout: u64,
    pub(super) identifier: Option<String>,
    /// The kernel's ends.
    pub(super) sockets: Vec<RawFd>,
}

type Attributes = GenlBuffer<u16, Buffer>;
type Message = Genlmsghdr<u8, u16>;

impl NbdDriver {
    /// Finds the driver; none if it is not there.
    pub(super) async fn find() -> Result<Option<Self>> {
        let (router, _) = NlRouter::connect(NlFamily::Generic, None, Groups::empty())
            .await
            .map_err(|error| Error::Netlink(error.to_string()))?;
        match router.resolve_genl_family(FAMILY).await {
            Ok(family) => Ok(Some(Self { router, family })),
            Err(RouterError::Nlmsgerr(error)) if *error.error() == NOT_THERE => Ok(None),
            Err(error) => Err(Error::Netlink(error.to_string())),
        }
    }

    /// Makes a device and gives its number.
    pub(super) async fn connect(&self, connect: &Connect) -> Result<u32> {
        let replies = self
            .send("attach a device", command::CONNECT, connect.attributes()?)
            .await?;
        replies
            .iter()
            .find_map(|reply| {
                let attributes = reply.attrs().get_attr_handle();
                attributes.get_attr_payload_as(attribute::INDEX).ok()
            })
            .ok_or_else(|| Error::Netlink("the nbd driver did not name the device".to_owned()))
    }

    /// Takes a device down.
    pub(super) async fn disconnect(&self, index: u32) -> Result<()> {
        let attributes = [number(attribute::INDEX, index)?].into_iter().collect();
        self.send("disconnect a device", command::DISCONNECT, attributes)
            .await
            .map(drop)
    }

    /// Changes a device's size.
    pub(super) async fn resize(
        &self,
        index: u32,
        size_bytes: u64,
        identifier: Option<&str>,
    ) -> Result<()> {
        let attributes = resize_attributes(index, size_bytes, identifier)?;
        self.send("resize a device", command::RECONFIGURE, attributes)
            .await
            .map(drop)
    }

    /// Whether a device is connected.
    pub(super) async fn is_connected(&self, index: u32) -> Result<bool> {
        let attributes = [number(attribute::INDEX, index)?].into_iter().collect();
        let replies = self
            .send("tell a device's status", command::STATUS, attributes)
            .await?;
        Ok(replies
            .iter()
            .any(|reply| connected(reply).contains(&index)))
    }

    async fn send(
        &self,
        action: &'static str,
        command: u8,
        attributes: Attributes,
    ) -> Result<Vec<Message>> {
        let failed = |error: RouterError<u16, Message>| match error {
            RouterError::Nlmsgerr(error) => Error::Nbd {
                action,
                source: io::Error::from_raw_os_error(-*error.error()),
            },
            error => Error::Netlink(error.to_string()),
        };
        let message = NlPayload::Payload(message(command, attributes)?);
        let mut replies = self
            .router
            .send::<_, _, u16, Message>(self.family, NlmF::ACK, message)
            .await
            .map_err(failed)?;
        let mut payloads = Vec::new();
        while let Some(reply) = replies.next::<u16, Message>().await {
            let reply = reply.map_err(failed)?;
            if let NlPayload::Payload(payload) = reply.nl_payload() {
                payloads.push(payload.clone());
            }
        }
        Ok(payloads)
    }
}

impl Connect {
    /// Seconds after which the driver takes a connection that has not answered a request for a dead one: never, for a cluster
    /// that is slow or down is no reason to fail what was written. Zero stands for that, but only if there is no other
    /// connection to try. With several it stands for the block layer's thirty seconds.
    const fn request_timeout(&self) -> u64 {
        match self.sockets.len() {
            0 | 1 => 0,
            _ => LONGEST_TIMEOUT,
        }
    }

    fn attributes(&self) -> Result<Attributes> {
        let mut sockets = nested(attribute::SOCKETS)?;
        for socket in &self.sockets {
            let socket = number(socket_attribute::FD, socket.cast_unsigned())?;
            let item = nest(nested(socket_attribute::ITEM)?, &socket)?;
            sockets = nest(sockets, &item)?;
        }
        let mut attributes = vec![
            number(attribute::SIZE_BYTES, self.size_bytes)?,
            number(attribute::BLOCK_SIZE_BYTES, u64::from(self.sector_bytes))?,
            number(attribute::TIMEOUT, self.request_timeout())?,
            number(attribute::SERVER_FLAGS, u64::from(self.transmission_flags))?,
            number(attribute::DEAD_CONN_TIMEOUT, self.dead_connection_timeout)?,
            sockets,
        ];
        if let Some(index) = self.index {
            attributes.push(number(attribute::INDEX, index)?);
        }
        if let Some(identifier) = &self.identifier {
            attributes.push(string(attribute::BACKEND_IDENTIFIER, identifier)?);
        }
        Ok(attributes.into_iter().collect())
    }
}

fn resize_attributes(index: u32, size_bytes: u64, identifier: Option<&str>) -> Result<Attributes> {
    let mut attributes = vec![
        number(attribute::INDEX, index)?,
        number(attribute::SIZE_BYTES, size_bytes)?,
    ];
    if let Some(identifier) = identifier {
        // A device with an identifier takes no commands without it.
        attributes.push(string(attribute::BACKEND_IDENTIFIER, identifier)?);
    }
    Ok(attributes.into_iter().collect())
}

/// The devices that a status says are connected.
fn connected(status: &Message) -> Vec<u32> {
    let attributes = status.attrs().get_attr_handle();
    let Ok(list) = attributes.get_nested_attributes::<u16>(attribute::DEVICE_LIST) else {
        return Vec::new();
    };
    list.iter()
        .filter_map(|item| {
            let item = item.get_attr_handle::<u16>().ok()?;
            let index = item.get_attr_payload_as(device_attribute::INDEX).ok()?;
            let connected: u8 = item.get_attr_payload_as(device_attribute::CONNECTED).ok()?;
            (connected != 0).then_some(index)
        })
        .collect()
}

fn message(command: u8, attributes: Attributes) -> Result<Message> {
    GenlmsghdrBuilder::default()
        .cmd(command)
        .version(VERSION)
        .attrs(attributes)
        .build()
        .map_err(|error| Error::Netlink(error.to_string()))
}

type Attr = Nlattr<u16, Buffer>;

fn number<T: Size + ToBytes>(kind: u16, value: T) -> Result<Attr> {
    build(kind, value)
}

fn string(kind: u16, value: &str) -> Result<Attr> {
    build(kind, value)
}

fn nested(kind: u16) -> Result<Attr> {
    build(kind, Vec::<u8>::new())
}

fn build<P: Size + ToBytes>(kind: u16, payload: P) -> Result<Attr> {
    let failed = |error: &dyn std::fmt::Display| Error::Netlink(error.to_string());
    let kind = AttrTypeBuilder::default()
        .nla_type(kind)
        .build()
        .map_err(|error| failed(&error))?;
    NlattrBuilder::default()
        .nla_type(kind)
        .nla_payload(payload)
        .build()
        .map_err(|error| failed(&error))
}

fn nest(outer: Attr, inner: &Attr) -> Result<Attr> {
    outer
        .nest(inner)
        .map_err(|error| Error::Netlink(error.to_string()))
}

/// As good as for ever, in seconds: 23 days. The kernel counts it in ticks, up to a thousand a second, of which it tells 2^31
/// apart.
const LONGEST_TIMEOUT: u64 = 2_000_000;

const FAMILY: &str = "nbd";
const VERSION: u8 = 1;

/// What the kernel says of a family it does not have: `-ENOENT`.
const NOT_THERE: i32 = -2;

mod command {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const DISCONNECT: u8 = 2;
    pub(super) const RECONFIGURE: u8 = 3;
    pub(super) const STATUS: u8 = 5;
}

mod attribute {
    pub(super) const INDEX: u16 = 1;
    pub(super) const SIZE_BYTES: u16 = 2;
    pub(super) const BLOCK_SIZE_BYTES: u16 = 3;
    pub(super) const TIMEOUT: u16 = 4;
    pub(super) const SERVER_FLAGS: u16 = 5;
    pub(super) const SOCKETS: u16 = 7;
    pub(super) const DEAD_CONN_TIMEOUT: u16 = 8;
    pub(super) const DEVICE_LIST: u16 = 9;
    pub(super) const BACKEND_IDENTIFIER: u16 = 10;
}

mod socket_attribute {
    pub(super) const ITEM: u16 = 1;
    pub(super) const FD: u16 = 1;
}

mod device_attribute {
    pub(super) const INDEX: u16 = 1;
    pub(super) const CONNECTED: u16 = 2;
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neli::FromBytesWithInput;

    use super::*;

    /// Bytes in the machine's order, as netlink has them, from 32-bit words in text.
    fn words(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_le_bytes())
            .collect()
    }

    fn bytes_of(command: u8, attributes: Attributes) -> Vec<u8> {
        let message = message(command, attributes).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        message.to_bytes(&mut bytes).unwrap();
        bytes.into_inner()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn connect_is_what_the_header_files_say() {
        let mut connect = Connect {
            index: Some(3),
            size_bytes: 0x1_2000_0000,
            sector_bytes: 4096,
            transmission_flags: 0x16d,
            dead_connection_timeout: 30,
            identifier: Some("id".to_owned()),
            sockets: vec![10, 11],
        };
        // Each attribute: length and type in one word (type << 16 | length, 0x8000 for nested), then its payload.
        let expected = words(
            "00000101 \
             0002000c 20000000 00000001 \
             0003000c 00001000 00000000 \
             0004000c 001e8480 00000000 \
             0005000c 0000016d 00000000 \
             0008000c 0000001e 00000000 \
             8007001c 8001000c 00010008 0000000a 8001000c 00010008 0000000b \
             00010008 00000003 \
             000a0007 00006469",
        );
        assert_eq!(
            bytes_of(command::CONNECT, connect.attributes().unwrap()),
            expected
        );
        // A single connection has no limit at all.
        connect.sockets.pop();
        let bytes = bytes_of(command::CONNECT, connect.attributes().unwrap());
        let timeout = words("0004000c 00000000 00000000");
        assert!(bytes.windows(timeout.len()).any(|window| window == timeout));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn resizing_carries_the_identifier() {
        let attributes = resize_attributes(1, 512, Some("abc")).unwrap();
        let expected =
            words("00000103 00010008 00000001 0002000c 00000200 00000000 000a0008 00636261");
        assert_eq!(bytes_of(command::RECONFIGURE, attributes), expected);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_status_tells_which_devices_are_connected() {
        // Device 0 is not, device 5 is.
        let bytes = words(
            "00000105 \
             80090030 80010014 00010008 00000000 00020005 00000000 \
             80010018 00010008 00000005 00020005 00000001 00070004",
        );
        let len = bytes.len();
        let message = Message::from_bytes_with_input(&mut Cursor::new(bytes), len).unwrap();
        assert_eq!(connected(&message), [5]);
    }

    #[tokio::test]
    async fn a_kernel_without_the_driver_is_no_error() {
        // Whichever it is here, the question is answered.
        let driver = NbdDriver::find().await.unwrap();
        let is_loaded = std::path::Path::new("/sys/module/nbd").exists();
        assert_eq!(driver.is_some(), is_loaded);
    }
}
