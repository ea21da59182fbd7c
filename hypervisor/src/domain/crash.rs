//! The dump of a domain, line by line, and the end of the hypervisor: what a kernel engineer wants to see.

use super::vcpu::{LAST_CALLS, MadeCall, Vcpu};
use super::{Domain, console};
use crate::arch::x86_64::{Frame, guest, machine, switch};
use system_image::ExitStatus;

/// Why a domain is dumped.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// In words; none: an operator asked for the dump.
    pub text: &'static str,
    /// The address that was accessed, 0 if that says nothing.
    pub address: u64,
}

impl Cause {
    /// An operator asked for it.
    pub const ASKED: Self = Self { text: "", address: 0 };

    /// Whether the domain crashed.
    #[must_use]
    pub fn is_crash(self) -> bool {
        !self.text.is_empty()
    }
}

/// What a dump shows, as the templates of its lines number it: flags, some single words, and groups of words.
type Values = [u64; 64];

/// The words of [`Frame`].
const FRAME: usize = 1;
const END_OF_FRAME: usize = FRAME + size_of::<Frame>() / 8;
const ADDRESS: usize = END_OF_FRAME;
/// Calls, two words each, the newest first.
const CALLS: usize = 32;
/// Words of the stack as the guest kernel would read them, as far as they are accessible.
const STACK: usize = CALLS + 2 * LAST_CALLS;

/// The lines of a dump, as templates over [`Values`]; the cause follows the first one. The first ones, up to those with
/// all registers, are also the hypervisor's own.
const LINES: &[u8] = b"pvops: \xe9hypervisor fault, vector \xd0, error \x91, address \x97\
\xeadomain '@' \xe7crashed: \xe8dump\xff
  rip \x92  rsp \x95  rfl \x94
  rax \x8b  rbx \x86  rcx \x8c
  rdx \x8d  rsi \x8e  rdi \x8f
  rbp \x85   r8 \x8a   r9 \x89
  r10 \x88  r11 \x87  r12 \x84
  r13 \x83  r14 \x82  r15 \x81
  vCPU \xd8 on CPU \xd9, \xe0kernel\xe1user\xff mode, fault address \x97
   fs \x9a   gs \x9b  events \xe2masked\xe3enabled\xff, \xe4none \xffpending\xe6, blocked
  stack\t\xb0 \xb1 \xb2 \xb3
\t\xb4 \xb5 \xb6 \xb7
\t\xb8 \xb9 \xba \xbb
\t\xbc \xbd \xbe \xbf
  calls\t\xa0 \xa1 \xa2 \xa3
\t\xa4 \xa5 \xa6 \xa7
\t\xa8 \xa9 \xaa \xab
\t\xac \xad \xae \xaf
";
const END_OF_REGISTERS: usize = {
    let (mut at, mut lines) = (0, 0);
    while lines < 7 {
        lines += (LINES[at] == b'\n') as u32;
        at += 1;
    }
    at
};

/// The line that begins at byte `at` of [`LINES`].
fn line(at: usize) -> Option<&'static [u8]> {
    let rest = LINES.get(at..)?;
    rest.get(..rest.iter().position(|byte| *byte == b'\n')?)
}

#[inline(never)]
fn with_registers(frame: &Frame, address: u64) -> Values {
    let mut values = [0; 64];
    values[FRAME..END_OF_FRAME].copy_from_slice(frame.words());
    values[ADDRESS] = address;
    values
}

/// Shows the line of the dump of a domain that begins at byte `at` of all, if there is room for it; its vCPU has the
/// registers `frame`. Where the next one begins; `None`: there is no such line, the dump is complete.
pub fn show_line(domain: &Domain, vcpu: &Vcpu, frame: &Frame, at: usize) -> Option<usize> {
    let line = line(at)?;
    let Cause { text, address } = domain.crash.get();
    let mut values = with_registers(frame, address);
    let (fs, gs) = switch::guest_bases();
    let area = vcpu.area_or_none();
    // Pairs of bits, one of which is set, but for the last two.
    values[0] = 1 << 10
        | 1 << vcpu.mode.get() as u32
        | 1 << (2 + u32::from(area.events_enabled()))
        | 1 << (4 + u32::from(area.events_pending()))
        | 1 << (7 + u32::from(text.is_empty()))
        | u64::from(vcpu.blocked.get()) << 6;
    values[ADDRESS + 1..][..4].copy_from_slice(&[vcpu.number.into(), vcpu.cpu.into(), fs, gs]);
    for age in 0..LAST_CALLS {
        let MadeCall { id, first_argument } = vcpu.last_calls.get(age);
        values[CALLS + 2 * age] = id;
        values[CALLS + 2 * age + 1] = first_argument;
    }
    let mut end = STACK;
    while end < values.len()
        && let Ok(word) = guest::load_virtual((frame.rsp & !7).wrapping_add((end - STACK) as u64 * 8))
    {
        values[end] = word;
        end += 1;
    }
    let cause = if at == 0 { text } else { "" };
    let is_shown = console::say(domain.number.into(), domain.number, line, &values[..end], cause);
    Some(if is_shown { at + line.len() + 1 } else { at })
}

/// The hypervisor itself faulted, which is its own defect. Everything ends.
pub fn hypervisor_fault(frame: &Frame, address: u64) -> ! {
    let mut values = with_registers(frame, address);
    values[0] = 1 << 9;
    console::end_with(&LINES[..END_OF_REGISTERS], &values);
    machine::power_off(ExitStatus::HYPERVISOR_PANICKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> impl Iterator<Item = &'static [u8]> {
        let mut at = 0;
        core::iter::from_fn(move || line(at).inspect(|line| at += line.len() + 1))
    }

    fn shown(line: &[u8], values: &[u64]) -> String {
        console::text_of(line, "name", values)
    }

    #[test]
    fn each_register_has_its_name() {
        let (r15, r14, r13, r12, r11, r10, r9, r8) = (15, 14, 13, 12, 11, 10, 9, 8);
        let (rbp, rbx, rax, rcx, rdx, rsi, rdi) = (0xb9, 0xb, 0xa, 0xc, 0xd, 0x51, 0xd1);
        let (rip, rsp, rflags, vector, error, cs, ss) = (0x19, 0x59, 0xf, 13, 0xe, 0, 0);
        let frame = Frame {
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            vector,
            error,
            rip,
            cs,
            rflags,
            rsp,
            ss,
        };
        let mut values = with_registers(&frame, 0xadd);
        values[0] = 1 << 9;
        let text = shown(&LINES[..END_OF_REGISTERS], &values);
        assert!(text.starts_with(
            "pvops: hypervisor fault, vector 13, error 000000000000000e, address 0000000000000add\n"
        ));
        for (name, value) in [
            ("rip", rip),
            ("rsp", rsp),
            ("rfl", rflags),
            ("rax", rax),
            ("rbx", rbx),
            ("rcx", rcx),
            ("rdx", rdx),
            ("rsi", rsi),
            ("rdi", rdi),
            ("rbp", rbp),
            (" r8", r8),
            (" r9", r9),
            ("r10", r10),
            ("r11", r11),
            ("r12", r12),
            ("r13", r13),
            ("r14", r14),
            ("r15", r15),
        ] {
            assert!(text.contains(&format!("  {name} {value:016x}")), "{name}: {text}");
        }
    }

    #[test]
    fn a_dump() {
        let mut values: Values = core::array::from_fn(|number| number as u64);
        values[0] = 1 << 10 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;
        let text: Vec<String> = lines().map(|line| shown(line, &values[..STACK + 2])).collect();
        assert_eq!(text.len(), 17);
        assert!(text.iter().all(|line| line.len() < 90 && line.is_ascii()), "{text:?}");
        assert_eq!(text[0], "pvops: domain 'name' crashed: ");
        assert_eq!(text[7], "  vCPU 24 on CPU 25, user mode, fault address 0000000000000017");
        assert_eq!(
            text[8],
            "   fs 000000000000001a   gs 000000000000001b  events enabled, none pending, blocked"
        );
        assert_eq!(text[9], "  stack\t0000000000000030 0000000000000031 - -");
        assert_eq!(text[10], "\t- - - -");
        assert!(text[13].starts_with("  calls\t0000000000000020 0000000000000021 "), "{text:?}");
        values[0] = 1 << 10 | 1 | 1 << 2 | 1 << 5 | 1 << 8;
        let text: Vec<String> = lines().map(|line| shown(line, &values)).collect();
        assert_eq!(text[0], "pvops: domain 'name' dump");
        assert!(text[7].contains("kernel mode"));
        assert!(text[8].ends_with("events masked, pending"));
        assert!(text[12].ends_with(" 000000000000003f"));
    }
}
