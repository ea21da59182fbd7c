//! x86_64. Calls out of here go only to [`crate::front`] (entries) and back in from everywhere.

/// The address of what the assembly or the linker defines. Computed, because the compiler would read it from a table of
/// addresses that is kept for that.
macro_rules! address_of {
    ($symbol:path) => {{
        let address: u64;
        // SAFETY: the instruction does nothing but compute an address.
        unsafe {
            core::arch::asm!("lea {}, [rip + {}]", out(reg) address, sym $symbol,
                options(pure, nomem, nostack, preserves_flags));
        }
        address
    }};
}

pub mod apic;
pub mod boot;
pub mod call_list;
pub mod call_table;
pub mod console;
pub mod cpu;
pub mod deliver;
pub mod entry;
pub mod frame;
pub mod guest;
pub mod io_apic;
pub mod layout;
pub mod machine;
pub mod paging;
pub mod percpu;
pub mod ports;
pub mod pristine;
pub mod registered;
pub mod segments;
mod sizes;
pub mod start;
pub mod switch;
pub mod system_call;
pub mod time;
#[cfg(feature = "trace")]
pub mod trace;
pub mod trap;

pub use frame::Frame;
pub use percpu::cpu;
