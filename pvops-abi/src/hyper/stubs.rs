//! What patched sites call: hypercalls as leaf functions that keep every register which their site does not give
//! away (see [`crate::patch`]). They are reached by direct calls, so none begins with `endbr64`; the stub in the
//! hypercall page, reached indirectly, does.

use super::CURRENT_ROOT;
use super::hypercall::CALL_STUB;
use super::irq::{ENABLED, PENDING};
use crate::call::{Event, Mmu, Sched, Time};
use crate::layout::{LoadRootFlags, VcpuArea};
use crate::patch::KEEP;
use core::arch::naked_asm;
use core::mem::offset_of;

// What a site passes is what the call takes.
const _: () = assert!(LoadRootFlags::KEEP.bits() == KEEP);

/// Leaves the event flag in `r11` and clears it.
#[unsafe(naked)]
pub(super) extern "C" fn save_and_disable() {
    naked_asm!(
        "movzx r11d, byte ptr gs:[{enabled}]",
        "mov byte ptr gs:[{enabled}], 0",
        "ret",
        enabled = const ENABLED,
    )
}

/// Stores `r11` in the event flag and looks at what waits.
#[unsafe(naked)]
pub(super) extern "C" fn restore() {
    naked_asm!(
        "mov byte ptr gs:[{enabled}], r11b",
        "cmp byte ptr gs:[{pending}], 0",
        "jne 2f",
        "ret",
        "2:",
        "test r11b, r11b",
        "jnz {deliver}",
        "ret",
        enabled = const ENABLED,
        pending = const PENDING,
        deliver = sym deliver,
    )
}

/// The event flag was set while `events_pending` was: has the hypervisor deliver. What became pending before
/// the store waits for this look (EVT-004); what comes after it interrupts.
#[unsafe(naked)]
pub(super) extern "C" fn deliver() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push r11",
        "mov eax, {deliver}",
        "call [rip + {call}]",
        "pop r11",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "ret",
        deliver = const Event::Deliver.id().0,
        call = sym CALL_STUB,
    )
}

/// Unmasks and sleeps.
#[unsafe(naked)]
pub(super) extern "C" fn block() {
    naked_asm!(
        "mov eax, {block}",
        "jmp [rip + {call}]",
        block = const Sched::Block.id().0,
        call = sym CALL_STUB,
    )
}

/// Loads the root in `rdi`; `rsi` holds the call's flags.
#[unsafe(naked)]
pub(super) extern "C" fn load_root() {
    naked_asm!(
        "mov eax, {load_root}",
        "xor edx, edx",
        "call [rip + {call}]",
        "test rax, rax",
        "jnz {refused}",
        "mov [rip + {current_root}], rdi",
        "ret",
        load_root = const Mmu::LoadRoot.id().0,
        call = sym CALL_STUB,
        refused = sym refused,
        current_root = sym CURRENT_ROOT,
    )
}

extern "C" fn refused() -> ! {
    panic!("the hypervisor refused a root");
}

/// Flushes the page at `rdi` on the vCPUs in `rsi`; all of them when every bit is set.
#[unsafe(naked)]
pub(super) extern "C" fn flush_page() {
    naked_asm!(
        // The call's base: the number of the mask's lowest vCPU, all ones for every vCPU.
        "xor edx, edx",
        "mov eax, {flush_page}",
        "cmp rsi, -1",
        "je 2f",
        "jmp [rip + {call}]",
        "2:",
        "push rsi",
        "mov rdx, rsi",
        "xor esi, esi",
        "call [rip + {call}]",
        "pop rsi",
        "ret",
        flush_page = const Mmu::FlushPage.id().0,
        call = sym CALL_STUB,
    )
}

/// The clock, from the time fields of this vCPU's area; until that is registered, by a call.
#[unsafe(naked)]
pub(super) extern "C" fn now_ns() {
    naked_asm!(
        "2:",
        "mov r11d, gs:[{sequence}]",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "xor ecx, ecx",
        // This CPU's counter may be behind the one that wrote the fields: time stands still then.
        "sub rax, gs:[{tsc}]",
        "cmovb rax, rcx",
        "mov rcx, gs:[{multiplier}]",
        "test rcx, rcx",
        "jz 3f",
        "mul rcx",
        "shrd rax, rdx, 32",
        "add rax, gs:[{ns}]",
        // Odd, or not what it was: the fields changed meanwhile.
        "test r11d, 1",
        "jnz 4f",
        "cmp r11d, gs:[{sequence}]",
        "jne 4f",
        "ret",
        "4:",
        "pause",
        "jmp 2b",
        "3:",
        "mov eax, {clock}",
        "call [rip + {call}]",
        "mov rax, rdx",
        "ret",
        sequence = const offset_of!(VcpuArea, time_sequence),
        tsc = const offset_of!(VcpuArea, time_tsc),
        multiplier = const offset_of!(VcpuArea, time_mul),
        ns = const offset_of!(VcpuArea, time_ns),
        clock = const Time::Clock.id().0,
        call = sym CALL_STUB,
    )
}

// `gs:[…]` above is the area itself.
const _: () = assert!(offset_of!(crate::ops::cpu::CpuBlock, area) == 0 && PENDING == ENABLED + 1);
