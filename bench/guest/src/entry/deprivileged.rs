//! Entries under the ABI, registered by raw calls.

use crate::world;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_kit::excursion;
use pvops_abi::call::{CallId, Cpu, Event, IRET_STUB_OFFSET};
use pvops_abi::hyper;
use pvops_abi::layout::frame::DeliveredFrame;
use pvops_abi::layout::{EventPage, TrapGate, VcpuArea};
use pvops_abi::ops::cpu::{BLOCK_USER_CS, BLOCK_USER_SS};

#[repr(C, align(4096))]
struct TrapTable([[AtomicU64; 2]; 256]);

static TRAP_TABLE: TrapTable = TrapTable([const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256]);
static EVENTS: EventPage = EventPage::new();
static IRET_STUB: AtomicU64 = AtomicU64::new(0);

const OVERFLOW: usize = 4;
const INVALID_OPCODE: usize = 6;
const PAGE_FAULT: usize = 14;

unsafe extern "C" {
    fn bench_guest_trap();
    fn bench_guest_exit();
    fn bench_guest_unexpected();
    fn bench_guest_event();
    fn bench_guest_system_call();
}

global_asm!(
    // #UD and #PF: behind the instruction that caused it, which is two bytes long.
    ".balign 16",
    "bench_guest_trap:",
    "rdtsc",
    "mov r13d, eax",
    "add qword ptr [rsp + {rip}], 2",
    "push rax",
    "jmp [rip + {iret}]",
    // One vCPU and few ports: whatever is pending was the one event that is being measured.
    ".balign 16",
    "bench_guest_event:",
    "rdtsc",
    "mov r13d, eax",
    "mov byte ptr gs:[{pending}], 0",
    "mov qword ptr gs:[{selector}], 0",
    "mov qword ptr [rip + {events} + {pending_ports}], 0",
    "push rax",
    "jmp [rip + {iret}]",
    // The frame for CPU.iret.
    ".balign 16",
    "bench_guest_system_call:",
    "rdtsc",
    "mov r13d, eax",
    "push gs:[{user_ss}]",
    "push gs:[{user_rsp}]",
    "push gs:[{user_rflags}]",
    "push gs:[{user_cs}]",
    "push gs:[{user_rip}]",
    "push 0",
    "push gs:[{user_rflags}]",
    "push gs:[{user_rip}]",
    "push rax",
    "jmp [rip + {iret}]",
    ".balign 16",
    "bench_guest_exit:",
    "mov rsp, [rip + {landing_rsp}]",
    "jmp {landing}",
    ".balign 16",
    "bench_guest_unexpected:",
    "mov rdi, rsp",
    "call {unexpected}",
    iret = sym IRET_STUB,
    events = sym EVENTS,
    landing_rsp = sym excursion::LANDING_RSP,
    landing = sym excursion::landing,
    unexpected = sym unexpected,
    rip = const offset_of!(DeliveredFrame, rip),
    pending = const offset_of!(VcpuArea, events_pending),
    selector = const offset_of!(VcpuArea, selector),
    pending_ports = const offset_of!(EventPage, pending),
    user_rsp = const offset_of!(VcpuArea, user_rsp),
    user_rip = const offset_of!(VcpuArea, user_rip),
    user_rflags = const offset_of!(VcpuArea, user_rflags),
    user_ss = const BLOCK_USER_SS,
    user_cs = const BLOCK_USER_CS,
);

extern "C" fn unexpected(frame: &DeliveredFrame) -> ! {
    panic!("a trap that nobody measures: {frame:x?}, address {:x?}", world::BLOCK.area.fault_address);
}

/// Makes a registration that must succeed.
fn register(id: CallId, first: u64, second: u64) {
    hyper::call(id, [first, second, 0, 0, 0, 0]).result().expect("a well-formed registration");
}

pub(super) fn install() {
    let info = world::start_info().expect("under the ABI only");
    IRET_STUB.store(info.hypercall_page_virt + IRET_STUB_OFFSET, Ordering::Relaxed);
    for (vector, [address, flags]) in TRAP_TABLE.0.iter().enumerate() {
        let (entry, rights): (unsafe extern "C" fn(), u64) = match vector {
            OVERFLOW => (bench_guest_exit, TrapGate::USER),
            INVALID_OPCODE | PAGE_FAULT => (bench_guest_trap, 0),
            _ => (bench_guest_unexpected, 0),
        };
        flags.store(TrapGate::MASK_EVENTS | rights, Ordering::Relaxed);
        address.store(entry as *const () as u64, Ordering::Relaxed);
    }
    register(Cpu::SetTrapTable.id(), world::image_phys(&TRAP_TABLE), 256);
    let [event, system_call] = [bench_guest_event, bench_guest_system_call]
        .map(|entry: unsafe extern "C" fn()| entry as *const () as u64);
    register(Cpu::SetEntries.id(), event, system_call);
    register(Event::RegisterPage.id(), world::image_phys(&EVENTS), 0);
    // The library's own page was registered first, but nothing is bound there: ports are bound by raw calls.
    EVENTS.mask.iter().for_each(|word| word.store(0, Ordering::SeqCst));
    // SAFETY: one byte of this CPU's own block, as the library's flag operations do it.
    unsafe { asm!("mov byte ptr gs:[{0}], 0", const offset_of!(VcpuArea, events_enabled)) };
}
