//! The form of frames on the wire: checksums or encryption, revision 2.1 or 2.0. The form changes
//! only between frames.

mod cipher;
mod decode;
mod encode;
mod input;
mod layout;
mod output;
mod prepared;
mod secure;

pub(crate) use decode::Decoder;
pub use decode::decode_frames;
pub(crate) use encode::Encoder;
pub(crate) use output::Output;
pub use prepared::Form;
pub(crate) use prepared::Prepared;
pub(crate) use secure::Gcm;

#[cfg(test)]
mod compressed;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
