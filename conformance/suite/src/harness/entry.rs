//! The suite's entry under a hypervisor: what was there before the first instruction of Rust, and what calls answered
//! before anything was registered. Tests look at both later; they cannot be had a second time.
//!
//! `pvops_native::entry_point!` would do for a kernel that does not care; this is what it expands to, with a stub in
//! front that saves the registers.

use super::abi;
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use pvops_abi::boot::BootContext;
use pvops_abi::call::{CALL_STUB_OFFSET, CallId, Cpu, Event, Sched, SegmentBase};
use pvops_abi::hyper::Reply;
use pvops_abi::layout::start_info::ExecutionMode;
use pvops_abi::layout::{EventPage, PortKind, StartInfo};
use pvops_abi::version;
use pvops_native::private::bootloader_api;
use spin::Once;

/// Bytes that XSAVE stores for x87, SSE and AVX (Intel SDM volume 1, 13.4).
const EXTENDED_BYTES: usize = 832;

/// Registers at the entry.
#[repr(C, align(64))]
pub(crate) struct Registers {
    /// x87, SSE and AVX state, as XSAVE stores it.
    pub(crate) extended: [u8; EXTENDED_BYTES],
    /// `rax rbx rcx rdx rsi rbp r8..r15`: those that have to be 0.
    pub(crate) general: [u64; 14],
    pub(crate) rdi: u64,
    pub(crate) rsp: u64,
    pub(crate) rflags: u64,
    /// The word at `rsp`.
    pub(crate) top_word: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base: u64,
    pub(crate) xcr0: u64,
}

struct AtEntry(UnsafeCell<Registers>);
// SAFETY: written by the entry stub, before anybody else runs, and only read from then on.
unsafe impl Sync for AtEntry {}

static AT_ENTRY: AtEntry = AtEntry(UnsafeCell::new(Registers {
    extended: [0; EXTENDED_BYTES],
    general: [0; 14],
    rdi: 0,
    rsp: 0,
    rflags: 0,
    top_word: 0,
    fs_base: 0,
    gs_base: 0,
    xcr0: 0,
}));

/// A call that was made before anything was registered, or with an event page only.
pub(crate) struct Early {
    pub(crate) what: &'static str,
    pub(crate) id: CallId,
    pub(crate) reply: Reply,
}

static EARLY: Once<[Early; 4]> = Once::new();

bootloader_api::entry_point!(native_entry, config = &pvops_native::boot::CONFIG);
pvops_abi::notes! {
    entry: hypervisor_entry,
    version: version::CURRENT,
    modes: 1 << ExecutionMode::Deprivileged as u64,
    requires: [1, 2, 3, 4, 5, 6, 7]
}

fn native_entry(info: &'static mut bootloader_api::BootInfo) -> ! {
    crate::guest::main(pvops_native::boot::context(info))
}

extern "C" fn start(start_info: &'static StartInfo) -> ! {
    // SAFETY: the stub leaves `rdi` as it was at the note's entry, and the boot tables are loaded.
    let boot: &'static BootContext = unsafe { pvops_abi::hyper::boot_context(start_info) };
    EARLY.call_once(|| calls_before_registration(start_info));
    crate::guest::main(boot)
}

/// Registers at the entry.
pub(crate) fn registers() -> &'static Registers {
    // SAFETY: see `AtEntry`.
    unsafe { &*AT_ENTRY.0.get() }
}

/// Calls whose error is that nothing is registered yet.
pub(crate) fn early_calls() -> &'static [Early] {
    EARLY.get().map_or(&[], |calls| calls.as_slice())
}

/// A page that only these calls see; the backend registers its own afterwards.
#[repr(C, align(4096))]
struct Page(UnsafeCell<EventPage>);
// SAFETY: the hypervisor's once it is registered, and nobody else's.
unsafe impl Sync for Page {}
static PAGE: Page = Page(UnsafeCell::new(EventPage::new()));

fn calls_before_registration(info: &StartInfo) -> [Early; 4] {
    let make = |what, id: CallId, arguments: [u64; 3]| {
        let [first, second, third] = arguments;
        let stub = info.hypercall_page_virt + CALL_STUB_OFFSET;
        Early { what, id, reply: abi::call_at(stub, id, [first, second, third, 0, 0, 0]) }
    };
    let bind = |what| make(what, Event::Bind.id(), [PortKind::Ipi as u64, 0, 0]);
    let without_page = bind("EVT.BIND without an event page");
    let block = make("SCHED.BLOCK without an area", Sched::Block.id(), [0; 3]);
    let user_gs = SegmentBase::UserGs as u64;
    let base =
        make("CPU.SET_SEGMENT_BASE of user mode without an area", Cpu::SetSegmentBase.id(), [user_gs, 0, 0]);
    let page = (PAGE.0.get() as u64).wrapping_sub(info.kernel_virt) + info.kernel_phys;
    make("EVT.REGISTER_PAGE", Event::RegisterPage.id(), [page, 0, 0]);
    [without_page, block, base, bind("EVT.BIND without an area")]
}

/// The note's entry: saves everything and goes on with everything as it was.
#[unsafe(naked)]
unsafe extern "C" fn hypervisor_entry() {
    naked_asm!(
        "mov [rip + {at} + 832], rax",
        "mov [rip + {at} + 840], rbx",
        "mov [rip + {at} + 848], rcx",
        "mov [rip + {at} + 856], rdx",
        "mov [rip + {at} + 864], rsi",
        "mov [rip + {at} + 872], rbp",
        "mov [rip + {at} + 880], r8",
        "mov [rip + {at} + 888], r9",
        "mov [rip + {at} + 896], r10",
        "mov [rip + {at} + 904], r11",
        "mov [rip + {at} + 912], r12",
        "mov [rip + {at} + 920], r13",
        "mov [rip + {at} + 928], r14",
        "mov [rip + {at} + 936], r15",
        "mov [rip + {at} + 944], rdi",
        "mov [rip + {at} + 952], rsp",
        "mov rax, [rsp]",
        "mov [rip + {at} + 968], rax",
        "pushfq",
        "pop [rip + {at} + 960]",
        "rdfsbase rax",
        "mov [rip + {at} + 976], rax",
        "rdgsbase rax",
        "mov [rip + {at} + 984], rax",
        "xor ecx, ecx",
        "xgetbv",
        "mov [rip + {at} + 992], eax",
        "mov [rip + {at} + 996], edx",
        "mov eax, 7",
        "xor edx, edx",
        "xsave64 [rip + {at}]",
        "jmp {start}",
        at = sym AT_ENTRY,
        start = sym start,
    )
}

const _: () = assert!(
    core::mem::offset_of!(Registers, general) == 832 && core::mem::offset_of!(Registers, xcr0) == 992
);
