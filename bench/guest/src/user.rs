//! User programs that measure themselves: entered by a frame, they run until `int 4`.

use crate::measure::{END_MARK, MARK, SAMPLES, Stamps};
use crate::micro::Mark;
use crate::tables::{self, Place, USER_CODE, USER_DATA};
use crate::world;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_kit::excursion;
use pvops_abi::addr::{PAGE_SIZE, VirtAddr};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::cpu;

/// Bytes copied of a program.
const PROGRAM_BYTES: u64 = 128;
/// Pages for its stamps, three words for each sample.
const STAMP_PAGES: u64 = (SAMPLES as u64 * 12).div_ceil(PAGE_SIZE);

/// For entries from user mode.
#[repr(C, align(4096))]
struct EntryStack([AtomicU64; 1024]);
static ENTRY_STACK: EntryStack = EntryStack([const { AtomicU64::new(0) }; 1024]);

/// A user program: `rdi` is where its stamps go, `rsi` an address that is not mapped, `ebx` how often to measure.
pub(crate) type Program = unsafe extern "C" fn();

/// Makes system calls.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn system_calls() {
    naked_asm!(
        "2:",
        "nop dword ptr [rax + {mark}]",
        "rdtsc",
        "mov r12d, eax",
        "syscall",
        "rdtsc",
        "nop dword ptr [rax + {end_mark}]",
        "mov [rdi], r12d",
        "mov [rdi + 4], r13d",
        "mov [rdi + 8], eax",
        "add rdi, 12",
        "dec ebx",
        "jnz 2b",
        "int 4",
        mark = const MARK + Mark::SystemCall as u32,
        end_mark = const END_MARK,
    )
}

/// Causes page faults, by an instruction of two bytes.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn page_faults() {
    naked_asm!(
        "2:",
        "nop dword ptr [rax + {mark}]",
        "rdtsc",
        "mov r12d, eax",
        "mov al, [rsi]",
        "rdtsc",
        "nop dword ptr [rax + {end_mark}]",
        "mov [rdi], r12d",
        "mov [rdi + 4], r13d",
        "mov [rdi + 8], eax",
        "add rdi, 12",
        "dec ebx",
        "jnz 2b",
        "int 4",
        mark = const MARK + Mark::UserFault as u32,
        end_mark = const END_MARK,
    )
}

/// Runs a program to its end; its stamps are then in what is returned.
pub(crate) fn run(program: Program) -> impl Fn(usize) -> Stamps {
    let code = tables::address(Place::User);
    let (stamps, stack, unmapped) = (code + 0x10_0000, code + 0x20_0000, code + 0x30_0000);
    let root = tables::base_root();
    let code_frame = world::frame();
    for offset in (0..PROGRAM_BYTES).step_by(8) {
        // SAFETY: the image's code; behind a program there is more of it.
        let text = unsafe { (program as *const () as *const u64).byte_add(offset as usize).read_unaligned() };
        world::word(code_frame + offset).store(text, Ordering::Relaxed);
    }
    tables::map(root, code, code_frame, USER_CODE);
    tables::flush(code);
    let frames = [const { AtomicU64::new(0) }; STAMP_PAGES as usize];
    for (page, frame) in (0..).zip(&frames) {
        frame.store(world::frame(), Ordering::Relaxed);
        tables::map(root, stamps + page * PAGE_SIZE, frame.load(Ordering::Relaxed), USER_DATA);
        tables::flush(stamps + page * PAGE_SIZE);
    }
    cpu::set_kernel_stack(VirtAddr(ENTRY_STACK.0.as_ptr_range().end as u64));
    let selectors = cpu::selectors();
    let frame = TrapFrame {
        rip: code,
        cs: selectors.user_cs.into(),
        ss: selectors.user_ss.into(),
        rflags: 2,
        rsp: stack,
        rdi: stamps,
        rsi: unmapped,
        rbx: SAMPLES as u64,
        ..TrapFrame::default()
    };
    // What is wanted of it is its stamps. The entry of `int 4` lands by itself.
    excursion::run(&frame);
    move |sample| {
        let [start, handler, end] = [0, 1, 2].map(|word| {
            let offset = sample as u64 * 12 + word * 4;
            let frame = frames[(offset / PAGE_SIZE) as usize].load(Ordering::Relaxed);
            let pair = world::word(frame + ((offset % PAGE_SIZE) & !7)).load(Ordering::Relaxed);
            (pair >> (offset % 8 * 8)) as u32
        });
        Stamps { start, handler, end }
    }
}
