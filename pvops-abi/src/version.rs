//! Versions of the ABI and how two sides agree on one.
//!
//! A major version breaks; a minor version adds. Guest and hypervisor agree when the majors are equal and
//! the hypervisor's minor is at least the guest's (`spec/versioning`, `VER-001`).

/// A version `major.minor` of the ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct AbiVersion {
    /// Changes when something existing changes its meaning.
    pub major: u16,
    /// Changes when something is added.
    pub minor: u16,
}

/// The version of the ABI described here. It stays 0.x until the performance budgets hold.
pub const CURRENT: AbiVersion = AbiVersion { major: 0, minor: 1 };

impl AbiVersion {
    /// The form used in notes, `StartInfo` and BASE.version: major in bits 31..16, minor in bits 15..0.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        ((self.major as u32) << 16) | self.minor as u32
    }
    /// Inverse of [`Self::to_bits`].
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self { major: (bits >> 16) as u16, minor: bits as u16 }
    }
    /// Whether a hypervisor of version `self` runs a guest that asks for `wanted`.
    #[must_use]
    pub const fn satisfies(self, wanted: AbiVersion) -> bool {
        self.major == wanted.major && self.minor >= wanted.minor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_grows_compatibly_and_major_does_not() {
        let here = AbiVersion { major: 1, minor: 4 };
        assert!(here.satisfies(AbiVersion { major: 1, minor: 4 }));
        assert!(here.satisfies(AbiVersion { major: 1, minor: 0 }));
        assert!(!here.satisfies(AbiVersion { major: 1, minor: 5 }));
        assert!(!here.satisfies(AbiVersion { major: 2, minor: 0 }));
        assert!(!here.satisfies(AbiVersion { major: 0, minor: 4 }));
        assert_eq!(AbiVersion::from_bits(here.to_bits()), here);
    }
}
