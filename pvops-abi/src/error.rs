//! The status of a call: what `rax` holds on return.

/// Why a call was refused. Each variant says what the caller did wrong; the value is what `rax` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i64)]
pub enum Error {
    /// The extension or function number is unknown, or the extension is absent here.
    NotSupported = -1,
    /// An argument is out of its domain, or a reserved bit or field is not zero.
    InvalidArgument = -2,
    /// A guest-physical range does not lie wholly in the caller's memory, or is misaligned.
    BadAddress = -3,
    /// The object named is not in a state that allows the call (a port not bound, an area not registered).
    WrongState = -4,
    /// The caller may not do this: the object belongs to somebody else.
    Denied = -5,
    /// A bounded resource is used up (ports, pool, vCPUs).
    NoResources = -6,
    /// The caller runs where the call is not allowed (a user-mode or hardware-mode caller).
    WrongMode = -7,
    /// The call did a bounded part of its work; call again with the arguments unchanged to go on.
    Again = -8,
}

/// `rax` after a call that did what it was asked.
pub const SUCCESS: i64 = 0;

impl Error {
    /// The value in `rax`.
    #[must_use]
    pub const fn to_status(self) -> i64 {
        self as i64
    }

    /// Decodes `rax`. Statuses that this version does not know (a newer minor version may add some) count
    /// as [`Error::NotSupported`].
    ///
    /// # Errors
    /// The error that `status` stands for, unless it is zero or positive.
    pub const fn check(status: i64) -> Result<(), Error> {
        Err(match status {
            0.. => return Ok(()),
            -2 => Error::InvalidArgument,
            -3 => Error::BadAddress,
            -4 => Error::WrongState,
            -5 => Error::Denied,
            -6 => Error::NoResources,
            -7 => Error::WrongMode,
            -8 => Error::Again,
            _ => Error::NotSupported,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_round_trip() {
        for value in -8..=-1 {
            assert_eq!(Error::check(value).unwrap_err().to_status(), value);
        }
        assert_eq!(Error::check(SUCCESS), Ok(()));
        assert_eq!(Error::check(-1000), Err(Error::NotSupported));
    }
}
