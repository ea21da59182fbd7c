//! How a run of the machine ended, from QEMU's exit status and its log.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use system_image::ExitStatus as GuestStatus;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel or hypervisor wrote this status to the debug-exit port.
    Status(u8),
    /// The machine was powered off, or reset itself by other means than a fault.
    PoweredOff,
    /// A fault that the CPU could not deliver.
    TripleFault,
    /// QEMU did not start the machine, or failed itself.
    QemuFailed(String),
}

impl Outcome {
    /// Decodes the end of a QEMU process. `log` is what `-d cpu_reset` wrote, `stderr` its standard error.
    pub fn decode(exit: ExitStatus, log: &str, stderr: &str) -> Self {
        // Every machine that starts logs the reset of its CPUs; QEMU's own failures can have the same exit
        // status as a guest's success, so the log decides.
        let started = !log.is_empty();
        match exit.code() {
            Some(0) if log.contains("Triple fault") => Self::TripleFault,
            Some(0) => Self::PoweredOff,
            // The device makes (status << 1) | 1 of a status.
            Some(code) if started && code & 1 == 1 => Self::Status((code >> 1) as u8),
            Some(code) => Self::QemuFailed(format!("QEMU failed with exit status {code}: {}", stderr.trim())),
            None => {
                let signal = exit.signal().unwrap_or_default();
                Self::QemuFailed(format!("QEMU was ended by signal {signal}: {}", stderr.trim()))
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => match GuestStatus::from_code(*status) {
                Some(known) => write!(formatter, "status {status}: {}", known.message()),
                None => write!(formatter, "status {status}, which has no meaning"),
            },
            Self::PoweredOff => formatter.write_str("powered off"),
            Self::TripleFault => formatter.write_str("triple fault: the machine reset itself"),
            Self::QemuFailed(reason) => formatter.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(code: i32, log: &str) -> Outcome {
        Outcome::decode(ExitStatus::from_raw(code << 8), log, "message")
    }

    #[test]
    fn statuses_are_decoded() {
        assert_eq!(decode(1, "CPU Reset"), Outcome::Status(0));
        assert_eq!(decode((65 << 1) | 1, "CPU Reset"), Outcome::Status(65));
        assert_eq!(decode(0, "CPU Reset"), Outcome::PoweredOff);
    }

    #[test]
    fn failures_of_qemu_are_not_success() {
        assert!(matches!(decode(1, ""), Outcome::QemuFailed(_)));
        assert!(matches!(decode(2, "CPU Reset"), Outcome::QemuFailed(_)));
        assert!(matches!(Outcome::decode(ExitStatus::from_raw(6), "CPU Reset", ""), Outcome::QemuFailed(_)));
    }

    #[test]
    fn a_triple_fault_is_not_a_power_off() {
        assert_eq!(decode(0, "CPU Reset (CPU 0)\nTriple fault\n"), Outcome::TripleFault);
    }

    #[test]
    fn statuses_are_explained() {
        assert!(Outcome::Status(65).to_string().contains("crashed"));
        assert!(Outcome::Status(7).to_string().contains("shutdown code"));
        assert!(Outcome::Status(99).to_string().contains("no meaning"));
    }
}
