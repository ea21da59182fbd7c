//! The status with which a run ends, shared by kernels that report it and tools that explain it.
//!
//! Under QEMU it is written to the debug-exit port; `cargo pv` turns it into its own exit code.

/// How a whole run ended: 0 is success, 1 to 63 the guest's own word, the rest the hypervisor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// Everything ended well.
    pub const SUCCESS: Self = Self(0);
    /// The largest shutdown code a guest may choose.
    pub const MAX_GUEST: Self = Self(63);
    /// The system image or a guest image was refused; nothing of it ran.
    pub const IMAGE_REFUSED: Self = Self(64);
    /// A domain crashed and was not restarted.
    pub const DOMAIN_CRASHED: Self = Self(65);
    /// The hypervisor itself failed.
    pub const HYPERVISOR_PANICKED: Self = Self(66);
    /// The machine lacks something that the hypervisor or kernel cannot do without.
    pub const MACHINE_UNSUPPORTED: Self = Self(67);

    /// The status for a guest's shutdown code; codes above 63 become 63.
    pub const fn from_guest(code: u64) -> Self {
        if code > Self::MAX_GUEST.0 as u64 { Self::MAX_GUEST } else { Self(code as u8) }
    }

    /// The status with this number, if it has a meaning.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code <= Self::MACHINE_UNSUPPORTED.0 { Some(Self(code)) } else { None }
    }

    /// The number written to the debug-exit port.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// What it means, in a few words.
    pub const fn message(self) -> &'static str {
        match self {
            Self::SUCCESS => "success",
            Self::IMAGE_REFUSED => "system image or guest image refused",
            Self::DOMAIN_CRASHED => "a domain crashed",
            Self::HYPERVISOR_PANICKED => "the hypervisor panicked",
            Self::MACHINE_UNSUPPORTED => "the machine is not supported",
            _ => "the guest's own shutdown code",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn guests_cannot_speak_for_the_hypervisor() {
        assert_eq!(ExitStatus::from_guest(7).code(), 7);
        assert_eq!(ExitStatus::from_guest(64), ExitStatus::MAX_GUEST);
        assert_eq!(ExitStatus::from_guest(u64::MAX), ExitStatus::MAX_GUEST);
    }

    #[test]
    fn unknown_codes_have_no_status() {
        assert_eq!(ExitStatus::from_code(67), Some(ExitStatus::MACHINE_UNSUPPORTED));
        assert_eq!(ExitStatus::from_code(68), None);
    }
}
