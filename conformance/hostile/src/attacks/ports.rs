//! I/O ports that are assigned to this kernel (`port=`, eight of them): the kernel's, not its programs', and not one more.

use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{check, check_trap, check_vector, option};

/// How many are assigned.
const COUNT: u64 = 8;

pub(super) fn run() {
    let first = option("port", 0);
    check(first != 0, format_args!("no ports were assigned"));
    // Each form with its bytes. The scratch register of a UART takes anything; so does a port without a device.
    let forms = [
        ("in al", code!("in al, dx"), 1),
        ("in ax", code!("in ax, dx"), 2),
        ("in eax", code!("in eax, dx"), 4),
        ("out al", code!("out dx, al"), 1),
        ("out ax", code!("out dx, ax"), 2),
        ("out eax", code!("out dx, eax"), 4),
        ("insb", code!("mov ecx, 2", "rep insb"), 1),
        ("insd", code!("mov ecx, 2", "rep insd"), 4),
        ("outsb", code!("mov rsi, rdi", "mov ecx, 2", "rep outsb"), 1),
        ("outsw", code!("mov rsi, rdi", "mov ecx, 2", "rep outsw"), 2),
    ];
    for round in 0..3 {
        for (what, code, bytes) in forms {
            for port in first - 4..first + COUNT + 4 {
                for mode in BOTH {
                    let mut state = attempt::snippet(mode, code);
                    state.rdx = port;
                    let is_inside = port >= first && port + bytes <= first + COUNT;
                    // Nothing is sent: the last port is a UART's scratch register, all others are only read.
                    if is_inside && what.starts_with("out") && port != first + COUNT - 1 {
                        continue;
                    }
                    let trap = attempt::run(&state);
                    let what = format_args!("{what} at {port:#x} in {mode:?} mode, round {round}");
                    if is_inside && mode == Mode::Kernel {
                        check_vector(&trap, &[DONE], what);
                    } else {
                        check_trap(&trap, 13, 0, what);
                    }
                }
            }
        }
    }
}
