//! The end of a domain that faulted beyond repair, and of the hypervisor: what a kernel engineer wants to see.

use super::console::{print, print_bytes, print_decimal, print_hex};
use super::vcpu::Mode;
use super::{Domain, NAME_BYTES};
use crate::arch::x86_64::{Frame, guest, machine, paging};
use system_image::ExitStatus;

/// Words of stack in a dump.
const STACK_WORDS: u64 = 8;

/// Prints "pvops: domain 'name' ".
pub fn print_name(name: &[u8; NAME_BYTES]) {
    print("pvops: domain '");
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    print_bytes(&name[..length]);
    print("' ");
}

/// Ends the domain whose vCPU has the registers `frame`, because of `cause`.
pub fn crash(domain: &Domain, frame: &Frame, cause: &str, address: u64) -> ! {
    let vcpu = domain.current_vcpu();
    super::console::start_line();
    print_name(&domain.name);
    print("crashed: ");
    print(cause);
    print("\n  vCPU ");
    print_decimal(vcpu.number.into());
    print(if vcpu.mode.get() == Mode::User { ", user mode" } else { ", kernel mode" });
    print(", fault address ");
    print_hex(address);
    print("\n");
    print_registers(frame);
    // The copy below faults its pages in as the guest kernel would, so they must be in the view that is loaded:
    // in the user view a kernel page never appears, and the copy would fault for ever.
    paging::load_view(vcpu.root.get().kernel);
    print_stack(frame);
    domain.stop(ExitStatus::DOMAIN_CRASHED)
}

fn print_registers(frame: &Frame) {
    let registers = [
        ("rip", frame.rip),
        ("rsp", frame.rsp),
        ("rfl", frame.rflags),
        ("rax", frame.rax),
        ("rbx", frame.rbx),
        ("rcx", frame.rcx),
        ("rdx", frame.rdx),
        ("rsi", frame.rsi),
        ("rdi", frame.rdi),
        ("rbp", frame.rbp),
        (" r8", frame.r8),
        (" r9", frame.r9),
        ("r10", frame.r10),
        ("r11", frame.r11),
        ("r12", frame.r12),
        ("r13", frame.r13),
        ("r14", frame.r14),
        ("r15", frame.r15),
    ];
    for line in registers.chunks(3) {
        for (name, value) in line {
            print("  ");
            print(name);
            print(" ");
            print_hex(*value);
        }
        print("\n");
    }
}

fn print_stack(frame: &Frame) {
    print("  stack");
    for word in 0..STACK_WORDS {
        match guest::load_virtual::<u64>((frame.rsp & !7).wrapping_add(word * 8)) {
            Ok(value) => {
                print(if word % 4 == 0 { "\n    " } else { " " });
                print_hex(value);
            }
            Err(guest::NotAccessible) => {
                print(" (not accessible)");
                break;
            }
        }
    }
    print("\n");
}

/// The hypervisor itself faulted, which is its own defect. Everything ends.
pub fn hypervisor_fault(frame: &Frame, address: u64) -> ! {
    print("\npvops: hypervisor fault, vector ");
    print_decimal(frame.vector);
    print(", error ");
    print_hex(frame.error);
    print(", address ");
    print_hex(address);
    print("\n");
    print_registers(frame);
    machine::power_off(ExitStatus::HYPERVISOR_PANICKED)
}
