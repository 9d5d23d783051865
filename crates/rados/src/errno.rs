//! Return codes of the cluster.

use std::{fmt, io};

/// A positive Linux `errno`, as daemons send them (negated) whatever they run on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The symbol, `ENOENT` for example, if it is one of those the cluster is known to send.
            pub const fn symbol(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1;
    /// No such object, pool, image or key.
    ENOENT = 2;
    /// Input/output error.
    EIO = 5;
    /// No such device or address.
    ENXIO = 6;
    /// The argument list is too long.
    E2BIG = 7;
    /// Try again.
    EAGAIN = 11;
    /// Out of memory.
    ENOMEM = 12;
    /// The user's capabilities do not allow this.
    EACCES = 13;
    /// In use.
    EBUSY = 16;
    /// Exists already.
    EEXIST = 17;
    /// Crosses a boundary that this cannot cross.
    EXDEV = 18;
    /// Not a directory.
    ENOTDIR = 20;
    /// Invalid argument.
    EINVAL = 22;
    /// Too large.
    EFBIG = 27;
    /// No space left.
    ENOSPC = 28;
    /// Read-only.
    EROFS = 30;
    /// Out of range.
    ERANGE = 34;
    /// A name is too long.
    ENAMETOOLONG = 36;
    /// Not implemented.
    ENOSYS = 38;
    /// Not empty.
    ENOTEMPTY = 39;
    /// No data: an attribute that does not exist.
    ENODATA = 61;
    /// A value that does not fit its type.
    EOVERFLOW = 75;
    /// Bytes that make no sense.
    EBADMSG = 74;
    /// Not supported.
    EOPNOTSUPP = 95;
    /// This client has been blocklisted.
    ESHUTDOWN = 108;
    /// Not connected: the watch is gone.
    ENOTCONN = 107;
    /// Timed out.
    ETIMEDOUT = 110;
    /// Connection refused.
    ECONNREFUSED = 111;
    /// The snapshot context is out of date.
    ESTALE = 116;
    /// A quota is used up.
    EDQUOT = 122;
    /// Canceled.
    ECANCELED = 125;
}

impl Errno {
    /// From a result as the wire carries it: zero and positive values are no errors.
    ///
    /// # Errors
    /// The errno, if `code` is negative.
    pub const fn check(code: i32) -> Result<u32, Self> {
        if code < 0 {
            Err(Self(code.saturating_neg()))
        } else {
            Ok(code.unsigned_abs())
        }
    }
}

/// The symbol and the usual text: `ENOENT (no such file or directory)`.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(symbol) => write!(f, "{symbol} ({})", self.text()),
            None => write!(f, "error {} ({})", self.0, self.text()),
        }
    }
}

impl Errno {
    /// The operating system's text for it, as `strerror` gives it.
    pub fn text(self) -> String {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        match text.rfind(" (os error") {
            Some(end) => text.get(..end).unwrap_or(&text).to_string(),
            None => text,
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_with_symbol_and_text() {
        assert_eq!(
            Errno::ENOENT.to_string(),
            "ENOENT (No such file or directory)"
        );
        assert_eq!(Errno(4095).symbol(), None);
    }

    #[test]
    fn only_negative_codes_are_errors() {
        assert_eq!(Errno::check(3), Ok(3));
        assert_eq!(Errno::check(-2), Err(Errno::ENOENT));
        assert!(Errno::check(i32::MIN).is_err());
    }
}
