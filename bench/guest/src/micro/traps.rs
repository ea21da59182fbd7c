//! System calls and faults: to the kernel's entry, and back.

use super::Mark;
use crate::measure::{timed, two_figures};
use crate::user;

pub(super) fn system_call() {
    let names = ["system_call.entry", "system_call.round_trip"];
    two_figures(names, Mark::SystemCall as u16, user::run(user::system_calls));
}

pub(super) fn user_fault() {
    let names = ["user_fault.entry", "user_fault.round_trip"];
    two_figures(names, Mark::UserFault as u16, user::run(user::page_faults));
}

pub(super) fn kernel_fault() {
    let names = ["kernel_fault.entry", "kernel_fault.round_trip"];
    two_figures(names, Mark::KernelFault as u16, |_| {
        // SAFETY: the entry of #UD goes on behind the instruction.
        unsafe { timed!(Mark::KernelFault, [0; 9], "ud2") }
    });
}
