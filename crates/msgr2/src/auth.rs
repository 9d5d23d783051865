//! What a method of authentication must be able to do. Its payloads are opaque here.

use std::fmt;

use bytes::Bytes;
use denc::GlobalId;
use zeroize::Zeroizing;

use crate::error::AuthError;
use crate::frame::auth::{AuthRequest, BadMethod, ConnectionMode};

/// The client's side of authentication, for one connection.
pub trait ClientAuth: Send {
    /// The first request.
    ///
    /// # Errors
    /// If there is nothing to authenticate with; the connection then fails with
    /// [`Error::Auth`](crate::Error::Auth), as it does for the other methods.
    fn begin(&mut self) -> Result<AuthRequest, AuthError>;

    /// The next request after the server has refused one.
    ///
    /// # Errors
    /// To give up.
    fn bad_method(&mut self, refusal: &BadMethod) -> Result<AuthRequest, AuthError>;

    /// The answer to a question of the server.
    ///
    /// # Errors
    /// To give up.
    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError>;

    /// The server is satisfied. `mode` is one of those of the last request.
    ///
    /// # Errors
    /// If the server has not proved itself.
    fn done(
        &mut self,
        global_id: GlobalId,
        mode: ConnectionMode,
        payload: &[u8],
    ) -> Result<AuthSecrets, AuthError>;

    /// The server's signature is right: it knows the session key. Until then what
    /// [`done`](Self::done) was given may have come from anybody.
    fn verified(&mut self) {}
}

/// The server's side of authentication, for one connection.
pub trait ServerAuth: Send {
    /// The answer to a request.
    ///
    /// # Errors
    /// To drop the client without an answer.
    fn request(&mut self, request: &AuthRequest) -> Result<AuthReply, AuthError>;

    /// The answer to the client's answer.
    ///
    /// # Errors
    /// To drop the client without an answer.
    fn more(&mut self, payload: &[u8]) -> Result<AuthReply, AuthError>;
}

/// What a server answers.
#[derive(Debug)]
pub enum AuthReply {
    /// No, but perhaps with another method.
    BadMethod(BadMethod),
    /// A question.
    More(Bytes),
    /// Yes.
    Done {
        /// The number of the client instance.
        global_id: GlobalId,
        /// The mode chosen from the client's.
        mode: ConnectionMode,
        /// The method's last word.
        payload: Bytes,
        /// What both sides know now.
        secrets: AuthSecrets,
    },
}

/// What authentication gives both sides to know. Wiped when dropped.
#[derive(Clone, Default)]
pub struct AuthSecrets {
    /// The key that signs the handshake; methods without one leave it unsigned.
    pub session_key: Option<Zeroizing<Vec<u8>>>,
    /// Key and nonces of secure mode; may be empty for the others.
    pub connection_secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for AuthSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthSecrets")
    }
}
