//! The dump of a domain, line by line, and the end of the hypervisor: what a kernel engineer wants to see.

use super::console::print_bytes;
use super::text::{HEX, Text};
use super::vcpu::{Mode, Vcpu};
use super::{Domain, NAME_BYTES};
use crate::arch::x86_64::{Frame, guest, machine, switch};
use core::mem::offset_of;
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

/// Appends "pvops: domain 'name' ".
pub fn heading<'text>(text: &'text mut Text, name: &[u8; NAME_BYTES]) -> &'text mut Text {
    text.text("pvops: domain ").quoted(name).byte(b' ')
}

/// Puts line `number` of the dump of a domain, whose vCPU has the registers `frame`, into `text`. False: behind the last.
pub fn dump_line(text: &mut Text, domain: &Domain, vcpu: &Vcpu, frame: &Frame, number: usize) -> bool {
    const STACK_LINES: usize = (STACK_WORDS / STACK_WORDS_PER_LINE) as usize;
    const FIRST_REGISTERS: usize = 3;
    const FIRST_STACK: usize = FIRST_REGISTERS + REGISTER_LINES;
    const FIRST_CALL: usize = FIRST_STACK + STACK_LINES;
    const END: usize = FIRST_CALL + super::vcpu::LAST_CALLS;
    match number {
        0 => cause(text, domain),
        1 => where_it_was(text, domain, vcpu),
        2 => what_it_waits_for(text, vcpu),
        FIRST_REGISTERS..FIRST_STACK => registers(text, frame, number - FIRST_REGISTERS),
        FIRST_STACK..FIRST_CALL => stack(text, frame, (number - FIRST_STACK) as u64),
        FIRST_CALL..END => return last_call(text, vcpu, number - FIRST_CALL),
        _ => return false,
    }
    true
}

fn cause(text: &mut Text, domain: &Domain) {
    let Cause { heading: first, text: words, .. } = domain.crash.get();
    heading(text, &domain.name).text(first).text(words);
}

fn where_it_was(text: &mut Text, domain: &Domain, vcpu: &Vcpu) {
    let values = [vcpu.number.into(), vcpu.cpu.into(), domain.crash.get().address];
    text.with(b"  vCPU \xa0 on CPU \xa1, ", &values);
    text.text(if vcpu.mode.get() == Mode::User { "user" } else { "kernel" });
    text.with(b" mode, fault address \x82", &values);
}

fn what_it_waits_for(text: &mut Text, vcpu: &Vcpu) {
    let (fs, gs) = switch::guest_bases();
    text.with(b"   fs \x80   gs \x81  events ", &[fs, gs]);
    text.text(if vcpu.accepts_events() { "enabled, " } else { "masked, " });
    text.text(if vcpu.has_pending_event() { "" } else { "none " }).text("pending");
    text.text(if vcpu.blocked.get() { ", blocked" } else { "" });
}

const REGISTER_LINES: usize = 6;

/// The registers' lines, as templates over [`Frame::words`].
static REGISTERS: [[u8; 7 * REGISTERS_PER_LINE]; REGISTER_LINES] = {
    const fn line(registers: [(&[u8; 3], usize); REGISTERS_PER_LINE]) -> [u8; 7 * REGISTERS_PER_LINE] {
        let mut line = [b' '; 7 * REGISTERS_PER_LINE];
        let mut number = 0;
        while number < REGISTERS_PER_LINE {
            let (name, offset) = registers[number];
            let mut letter = 0;
            while letter < 3 {
                line[number * 7 + 2 + letter] = name[letter];
                letter += 1;
            }
            line[number * 7 + 6] = HEX + (offset / 8) as u8;
            number += 1;
        }
        line
    }
    [
        line([
            (b"rip", offset_of!(Frame, rip)),
            (b"rsp", offset_of!(Frame, rsp)),
            (b"rfl", offset_of!(Frame, rflags)),
        ]),
        line([
            (b"rax", offset_of!(Frame, rax)),
            (b"rbx", offset_of!(Frame, rbx)),
            (b"rcx", offset_of!(Frame, rcx)),
        ]),
        line([
            (b"rdx", offset_of!(Frame, rdx)),
            (b"rsi", offset_of!(Frame, rsi)),
            (b"rdi", offset_of!(Frame, rdi)),
        ]),
        line([
            (b"rbp", offset_of!(Frame, rbp)),
            (b" r8", offset_of!(Frame, r8)),
            (b" r9", offset_of!(Frame, r9)),
        ]),
        line([
            (b"r10", offset_of!(Frame, r10)),
            (b"r11", offset_of!(Frame, r11)),
            (b"r12", offset_of!(Frame, r12)),
        ]),
        line([
            (b"r13", offset_of!(Frame, r13)),
            (b"r14", offset_of!(Frame, r14)),
            (b"r15", offset_of!(Frame, r15)),
        ]),
    ]
};

fn registers(text: &mut Text, frame: &Frame, line: usize) {
    if let Some(template) = REGISTERS.get(line) {
        text.with(template, frame.words());
    }
}

/// Words of the stack as the guest kernel would read them.
fn stack(text: &mut Text, frame: &Frame, line: u64) {
    text.text(if line == 0 { "  stack" } else { "       " });
    for word in line * STACK_WORDS_PER_LINE..(line + 1) * STACK_WORDS_PER_LINE {
        let Ok(value) = guest::load_virtual::<u64>((frame.rsp & !7).wrapping_add(word * 8)) else {
            text.text(" (not accessible)");
            return;
        };
        text.with(b" \x80", &[value]);
    }
}

/// The calls before, the newest first.
fn last_call(text: &mut Text, vcpu: &Vcpu, age: usize) -> bool {
    let Some(call) = vcpu.last_calls.get(age) else { return false };
    text.text(if age == 0 { "  last call " } else { "  before it " });
    text.hex(call.id, if call.id >> 32 == 0 { 8 } else { 16 }).with(b"  rdi \x80", &[call.first_argument]);
    true
}

/// The hypervisor itself faulted, which is its own defect. Everything ends.
pub fn hypervisor_fault(frame: &Frame, address: u64) -> ! {
    super::console::drain();
    let mut text = Text::new();
    let values = [frame.vector, frame.error, address];
    text.with(b"\npvops: hypervisor fault, vector \xa0, error \x81, address \x82\n", &values);
    for line in 0..REGISTER_LINES {
        print_bytes(text.as_bytes());
        text = Text::new();
        registers(&mut text, frame, line);
        text.byte(b'\n');
    }
    print_bytes(text.as_bytes());
    machine::power_off(ExitStatus::HYPERVISOR_PANICKED)
}
