//! What unpatched sites call: functions that go through the table and keep every register that their site does
//! not give away, as a caller in Rust would not.
//!
//! They are the targets of direct calls only, so none begins with `endbr64`. Kernels are built without vector
//! registers, so there are none to keep; and without a red zone, since a site pushes its return address.

use super::through_table;
use core::arch::naked_asm;

#[cfg(target_feature = "sse")]
compile_error!("pvops-abi: kernels are built without vector registers (target x86_64-unknown-none)");

/// `keeps`: every register is as if nothing had been called, but for what the instructions before and after the
/// call do. `returns`: the result is in `rax`.
macro_rules! thunk {
    ($name:ident keeps $($before:literal)? $(; $after:literal)?) => {
        thunk!($name, "push rax", "pop rax", [$($before)?] [$($after)?]);
    };
    ($name:ident returns) => {
        // The stack stays aligned to 16.
        thunk!($name, "sub rsp, 8", "add rsp, 8", [] []);
    };
    ($name:ident, $enter:literal, $leave:literal, [$($before:literal)?] [$($after:literal)?]) => {
        #[unsafe(naked)]
        pub(crate) extern "C" fn $name() {
            naked_asm!(
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                $enter,
                $($before,)?
                "call {target}",
                $($after,)?
                $leave,
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "ret",
                target = sym through_table::$name,
            )
        }
    };
}

thunk!(irq_disable keeps);
thunk!(irq_enable keeps);
// Into the word that becomes `r11`, the last but one.
thunk!(irq_save_and_disable keeps ; "mov [rsp + 8], rax");
thunk!(irq_restore keeps "mov rdi, r11");
thunk!(irq_are_enabled returns);
thunk!(irq_enable_and_wait keeps);
thunk!(cpu_current returns);
thunk!(cpu_block returns);
thunk!(cpu_spin_hint keeps);
thunk!(cpu_user_access_begin keeps);
thunk!(cpu_user_access_end keeps);
thunk!(mmu_load_root keeps);
thunk!(mmu_flush_page keeps);
thunk!(time_now_ns returns);
