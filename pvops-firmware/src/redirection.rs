//! Encoding of an IOAPIC redirection entry (82093AA data sheet, 3.2.4) and of the MADT's flags.

/// How a line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// By a change.
    Edge,
    /// By staying active until its cause is removed.
    Level,
}

/// Which level of the line is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polarity {
    /// High, or the rising edge.
    High,
    /// Low, or the falling edge.
    Low,
}

/// Trigger and polarity of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    /// How it signals.
    pub trigger: Trigger,
    /// Which level is active.
    pub polarity: Polarity,
}

/// ISA lines without another word from firmware.
pub const ISA: Signal = Signal { trigger: Trigger::Edge, polarity: Polarity::High };
/// PCI lines.
pub const PCI: Signal = Signal { trigger: Trigger::Level, polarity: Polarity::Low };

/// Bit of the low word that masks the entry.
pub const MASKED: u32 = 1 << 16;

impl Signal {
    /// Reads the "MPS INTI flags" of an interrupt source override of the ISA bus (ACPI 6.5, table 5.26).
    #[must_use]
    pub fn from_override_flags(flags: u16) -> Self {
        let polarity = if flags & 3 == 3 { Polarity::Low } else { Polarity::High };
        let trigger = if flags >> 2 & 3 == 3 { Trigger::Level } else { Trigger::Edge };
        Self { trigger, polarity }
    }
}

/// The two words `(low, high)` of an entry: fixed delivery of `vector` to the APIC `destination`, masked.
#[must_use]
pub fn encode_masked(vector: u8, destination: u8, signal: Signal) -> (u32, u32) {
    let polarity = u32::from(signal.polarity == Polarity::Low) << 13;
    let trigger = u32::from(signal.trigger == Trigger::Level) << 15;
    (u32::from(vector) | polarity | trigger | MASKED, u32::from(destination) << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_carry_vector_destination_and_signal() {
        assert_eq!(encode_masked(0x34, 2, ISA), (0x1_0034, 0x0200_0000));
        assert_eq!(encode_masked(0x41, 0, PCI), (0x1_a041, 0));
    }

    #[test]
    fn override_flags_default_to_the_bus() {
        assert_eq!(Signal::from_override_flags(0), ISA);
        assert_eq!(Signal::from_override_flags(0b0101), ISA);
        assert_eq!(Signal::from_override_flags(0b1111), PCI);
        assert_eq!(
            Signal::from_override_flags(0b1101),
            Signal { trigger: Trigger::Level, polarity: Polarity::High }
        );
    }
}
