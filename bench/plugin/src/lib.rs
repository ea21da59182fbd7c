//! A QEMU plugin that records every instruction between a guest's marks, whoever executes it: the guest, the
//! hypervisor under it, or another guest on the same CPU.
//!
//! A mark is an instruction that does nothing anywhere, `nop dword ptr [rax + MARK + number]`; number
//! [`record::END`] ends what another number began. The whole sequence in between is kept once for each length that
//! occurs, and when QEMU ends, the sequence of median length is written for each number. Costs derived from it
//! (crossings between rings, loads of CR3, flushes) are facts about what was executed, not about what somebody
//! believes to be executed.
//!
//! Rejected: stepping through the gdb stub, which masks interrupts by default and needs a round trip per
//! instruction; `-d exec`, which cannot be switched on and off by the guest and writes gigabytes at boot; counters in
//! the hypervisor, which change what they count.
//!
//! Output, text: `mark NUMBER SAMPLES EXECUTED HALTS`, the latter of all samples together, then a line per instruction: address, bytes, and `io` if it accessed a device.

// QEMU's functions exist in QEMU only; what needs none of them is tested without it.
#[cfg(not(test))]
mod callbacks;
#[cfg(not(test))]
mod qemu;
mod record;
