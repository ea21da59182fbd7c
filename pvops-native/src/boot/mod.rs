//! Both entries of a kernel, and what the native one makes of the boot loader's words.

mod image;
mod regions;

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use bootloader_api::config::Mapping;
use bootloader_api::{BootInfo, BootloaderConfig};
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, Platform};
use pvops_abi::layout::start_info::VirtRange;
use spin::Once;
use x86_64::registers::control::Cr3;

use crate::MAX_CPUS;
use crate::cpu::SELECTORS;

/// Bytes of the boot stack.
const STACK_BYTES: u64 = 128 * 1024;
/// Most bytes kept of a command line; the rest is cut off at a character's boundary.
pub const COMMAND_LINE_BYTES: usize = 2048;
/// Where the boot loader may put what it maps: the upper half, so that the lower one is user mode's.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000;

/// What [`entry_point!`](crate::entry_point) asks of the boot loader.
pub const CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = STACK_BYTES;
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.mappings.dynamic_range_start = Some(UPPER_HALF);
    config
};

/// Emits both entries of a kernel: the ELF entry for the boot loader `bootloader` on the metal, and the notes
/// and the entry for hypervisors that speak the ABI. Both end in `main`, a `fn(&'static BootContext) -> !`.
///
/// Use it once, in the root of the kernel's crate.
///
/// ```ignore
/// pvops_native::entry_point!(main);
///
/// fn main(boot: &'static pvops_abi::boot::BootContext) -> ! {
///     loop {}
/// }
/// ```
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        #[doc(hidden)]
        fn __pvops_main(boot: &'static $crate::private::pvops_abi::boot::BootContext) -> ! {
            // Checks the signature.
            let main: fn(&'static $crate::private::pvops_abi::boot::BootContext) -> ! = $main;
            main(boot)
        }

        #[doc(hidden)]
        fn __pvops_native_entry(info: &'static mut $crate::private::bootloader_api::BootInfo) -> ! {
            __pvops_main($crate::boot::context(info))
        }

        #[doc(hidden)]
        extern "C" fn __pvops_hypervisor_entry(
            start_info: &'static $crate::private::pvops_abi::layout::StartInfo,
        ) -> ! {
            // SAFETY: the hypervisor enters here once, with its start information (ABI, BASE).
            __pvops_main(unsafe { $crate::private::pvops_abi::hyper::boot_context(start_info) })
        }

        $crate::private::bootloader_api::entry_point!(__pvops_native_entry, config = &$crate::boot::CONFIG);
        $crate::private::pvops_abi::notes! {
            entry: __pvops_hypervisor_entry,
            version: $crate::private::pvops_abi::version::CURRENT,
            modes: 1 << $crate::private::pvops_abi::layout::start_info::ExecutionMode::Deprivileged as u64,
            requires: [1, 2, 3, 4, 5, 6, 7]
        }
    };
}

/// The command line's bytes; written once, by the one caller of [`context`].
struct CommandLine(UnsafeCell<[u8; COMMAND_LINE_BYTES]>);

// SAFETY: written by the caller that set `TAKEN`, before anybody has a reference to it.
unsafe impl Sync for CommandLine {}

static COMMAND_LINE: CommandLine = CommandLine(UnsafeCell::new([0; COMMAND_LINE_BYTES]));
static TAKEN: AtomicBool = AtomicBool::new(false);
static CONTEXT: Once<BootContext> = Once::new();

/// Translates what the boot loader says. Called by the expansion of [`entry_point!`](crate::entry_point).
///
/// # Panics
/// When called twice, or when the boot loader did not follow [`CONFIG`].
pub fn context(info: &'static mut BootInfo) -> &'static BootContext {
    assert!(!TAKEN.swap(true, Ordering::AcqRel), "pvops-native: entered twice");
    CONTEXT.call_once(|| translate(info))
}

fn translate(info: &BootInfo) -> BootContext {
    let physical_map = info.physical_memory_offset.into_option().expect("CONFIG asks for a physical map");
    let physical_map = VirtAddr(physical_map);
    let boot_root = PhysAddr(Cr3::read().0.start_address().as_u64());
    let image = image::find(info, physical_map);
    let (regions, region_count) = regions::collect(info, physical_map, boot_root, image).finish();
    let rsdp = info.rsdp_addr.into_option().map(PhysAddr);
    BootContext {
        platform: Platform::Metal { rsdp },
        command_line: command_line(info),
        regions,
        region_count,
        physical_map,
        kernel_start: image.start,
        kernel_bytes: image.bytes,
        boot_root,
        boot_stack: VirtAddr(info.kernel_stack_bottom),
        boot_stack_bytes: info.kernel_stack_len,
        usable_range: VirtRange { start: 0, last: u64::MAX },
        reserved_ranges: [VirtRange::default(); 4],
        reserved_range_count: 0,
        selectors: SELECTORS,
        cpu_count: pvops_firmware::cpu_count(rsdp, physical_map).min(MAX_CPUS),
    }
}

/// Copies the command line, which is the ramdisk's text, out of memory that the kernel may reclaim.
fn command_line(info: &BootInfo) -> &'static str {
    let Some(start) = info.ramdisk_addr.into_option() else { return "" };
    // SAFETY: the boot loader maps the ramdisk there, and nobody writes to it.
    let text = unsafe { core::slice::from_raw_parts(start as *const u8, info.ramdisk_len as usize) };
    let bytes = text.len().min(COMMAND_LINE_BYTES);
    // SAFETY: only this call, the one that set `TAKEN`, reaches the buffer; the reference is the only one ever.
    let buffer: &'static mut [u8; COMMAND_LINE_BYTES] = unsafe { &mut *COMMAND_LINE.0.get() };
    let kept = &mut buffer[..bytes];
    kept.copy_from_slice(&text[..bytes]);
    valid_prefix(kept).trim()
}

fn valid_prefix(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}
