//! The dump of a domain, line by line, and the end of the hypervisor: what a kernel engineer wants to see.

use super::console::{print, print_bytes};
use super::text::Text;
use super::vcpu::{Mode, Vcpu};
use super::{Domain, NAME_BYTES};
use crate::arch::x86_64::{Frame, guest, machine, switch};
use system_image::ExitStatus;

/// Words of stack in a dump, and in each of its lines.
const STACK_WORDS: u64 = 16;
const STACK_WORDS_PER_LINE: u64 = 4;
/// Registers in a line.
const REGISTERS_PER_LINE: usize = 3;

/// Why a domain is dumped.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Which of the two it was: "crashed: " or "dump: ".
    pub heading: &'static str,
    /// In words.
    pub text: &'static str,
    /// The address that was accessed, 0 if that says nothing.
    pub address: u64,
}

/// "pvops: domain 'name' ".
#[must_use]
pub fn heading(name: &[u8; NAME_BYTES]) -> Text {
    let mut text = Text::of("pvops: domain ");
    text.quoted(name).text(" ");
    text
}

/// Line `number` of the dump of a domain whose vCPU has the registers `frame`; `None` behind the last.
#[must_use]
pub fn dump_line(domain: &Domain, vcpu: &Vcpu, frame: &Frame, number: usize) -> Option<Text> {
    const REGISTER_LINES: usize = REGISTERS.div_ceil(REGISTERS_PER_LINE);
    const STACK_LINES: usize = (STACK_WORDS / STACK_WORDS_PER_LINE) as usize;
    const FIRST_REGISTERS: usize = 3;
    const FIRST_STACK: usize = FIRST_REGISTERS + REGISTER_LINES;
    const FIRST_CALL: usize = FIRST_STACK + STACK_LINES;
    const END: usize = FIRST_CALL + super::vcpu::LAST_CALLS;
    match number {
        0 => Some(cause(domain)),
        1 => Some(where_it_was(domain, vcpu)),
        2 => Some(what_it_waits_for(vcpu)),
        FIRST_REGISTERS..FIRST_STACK => Some(registers(frame, number - FIRST_REGISTERS)),
        FIRST_STACK..FIRST_CALL => Some(stack(frame, (number - FIRST_STACK) as u64)),
        FIRST_CALL..END => last_call(vcpu, number - FIRST_CALL),
        _ => None,
    }
}

fn cause(domain: &Domain) -> Text {
    let mut text = heading(&domain.name);
    let Cause { heading, text: words, .. } = domain.crash.get();
    text.text(heading).text(words);
    text
}

fn where_it_was(domain: &Domain, vcpu: &Vcpu) -> Text {
    let mut text = Text::new();
    text.text("  vCPU ").decimal(vcpu.number.into()).text(" on CPU ").decimal(vcpu.cpu.into());
    text.text(if vcpu.mode.get() == Mode::User { ", user mode" } else { ", kernel mode" });
    text.text(", fault address ").hex(domain.crash.get().address, 16);
    text
}

fn what_it_waits_for(vcpu: &Vcpu) -> Text {
    let mut text = Text::new();
    let (fs, gs) = switch::guest_bases();
    text.text("   fs ").hex(fs, 16).text("   gs ").hex(gs, 16);
    text.text(if vcpu.accepts_events() { "  events enabled" } else { "  events masked" });
    text.text(if vcpu.has_pending_event() { ", pending" } else { ", none pending" });
    text.text(if vcpu.blocked.get() { ", blocked" } else { "" });
    text
}

/// Registers of a dump.
const REGISTERS: usize = 18;

fn named_registers(frame: &Frame) -> [(&'static str, u64); REGISTERS] {
    [
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
    ]
}

fn registers(frame: &Frame, line: usize) -> Text {
    let mut text = Text::new();
    for (name, value) in
        named_registers(frame).iter().skip(line * REGISTERS_PER_LINE).take(REGISTERS_PER_LINE)
    {
        text.text("  ").text(name).text(" ").hex(*value, 16);
    }
    text
}

/// Words of the stack as the guest kernel would read them.
fn stack(frame: &Frame, line: u64) -> Text {
    let mut text = Text::new();
    text.text(if line == 0 { "  stack" } else { "       " });
    for word in line * STACK_WORDS_PER_LINE..(line + 1) * STACK_WORDS_PER_LINE {
        match guest::load_virtual::<u64>((frame.rsp & !7).wrapping_add(word * 8)) {
            Ok(value) => text.text(" ").hex(value, 16),
            Err(guest::NotAccessible) => {
                text.text(" (not accessible)");
                break;
            }
        };
    }
    text
}

/// The calls before, the newest first.
fn last_call(vcpu: &Vcpu, age: usize) -> Option<Text> {
    let call = vcpu.last_calls.get(age)?;
    let mut text = Text::new();
    text.text(if age == 0 { "  last call " } else { "  before it " });
    text.hex(call.id >> 32, if call.id >> 32 == 0 { 0 } else { 8 }).hex(call.id, 8);
    text.text("  rdi ").hex(call.first_argument, 16);
    Some(text)
}

/// The hypervisor itself faulted, which is its own defect. Everything ends.
pub fn hypervisor_fault(frame: &Frame, address: u64) -> ! {
    super::console::drain();
    let mut text = Text::new();
    text.text("\npvops: hypervisor fault, vector ").decimal(frame.vector);
    text.text(", error ").hex(frame.error, 16).text(", address ").hex(address, 16).text("\n");
    print_bytes(text.as_bytes());
    for line in 0..REGISTERS.div_ceil(REGISTERS_PER_LINE) {
        print_bytes(registers(frame, line).as_bytes());
        print("\n");
    }
    machine::power_off(ExitStatus::HYPERVISOR_PANICKED)
}
