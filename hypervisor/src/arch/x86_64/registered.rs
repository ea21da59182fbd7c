//! What a guest registers in its own memory: vCPU areas, trap tables, the event page. Each is checked once, where it is
//! registered, and then reached at its place in the domain's window, word by word.

use super::guest::GuestMemory;
use core::mem::offset_of;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use pvops_abi::error::Error;
use pvops_abi::layout::{EventPage, TrapGate, VcpuArea};

/// The vCPU area of a vCPU, in its registered place. Every access is one atomic load or store. None, for the entry code,
/// is the number 0.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Area {
    base: NonZeroU64,
}

macro_rules! area_words {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $field:ident;)*) => { $(
        $(#[$doc])*
        #[must_use]
        pub fn $get(self) -> u64 { self.word(offset_of!(VcpuArea, $field)).load(Ordering::Relaxed) }
        /// Stores what the getter before it loads.
        pub fn $set(self, value: u64) { self.word(offset_of!(VcpuArea, $field)).store(value, Ordering::Relaxed) }
    )* };
}

/// The trap table of a vCPU, in its registered place: its first gate and how many there are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TrapTable {
    base: u64,
    count: u64,
}

impl TrapTable {
    /// No gate.
    pub const NONE: Self = Self { base: 0, count: 0 };
    /// Offsets of its fields, for the entry code.
    pub(super) const BASE: usize = offset_of!(Self, base);
    /// See [`Self::BASE`].
    pub(super) const COUNT: usize = offset_of!(Self, count);

    /// `count` gates at guest-physical `address`.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn at(memory: &GuestMemory, address: u64, count: u64) -> Result<Self, Error> {
        Ok(Self { base: memory.at(address, count * size_of::<TrapGate>() as u64, 16)?, count })
    }

    /// Gate `number`, copied once. `None`: there is none.
    #[must_use]
    pub fn gate(self, number: u64) -> Option<TrapGate> {
        if number >= self.count {
            return None;
        }
        let gate = (self.base + number * size_of::<TrapGate>() as u64) as *const TrapGate;
        // SAFETY: `at` checked that the table lies in the window; a gate takes any bytes. Volatile, because the guest
        // may write meanwhile: the copy is checked as any claim.
        Some(unsafe { gate.read_volatile() })
    }
}

/// What stands in place of an area before the guest registers one: no event is pending there.
static NO_AREA: VcpuArea = VcpuArea::new();

/// The address of `area`, or of one in which nothing is pending.
#[must_use]
pub fn address_or_none(area: Option<Area>) -> u64 {
    area.map_or(&raw const NO_AREA as u64, |area| area.base.get())
}

/// The area at an address from [`address_or_none`], or in the window.
#[must_use]
pub fn area_at(address: u64) -> Area {
    // SAFETY: such an address is not 0.
    Area { base: unsafe { NonZeroU64::new_unchecked(address) } }
}

impl Area {
    /// The area at guest-physical `address`, after a check of place, size and version.
    ///
    /// # Errors
    /// [`Error::BadAddress`] outside memory, misaligned or across a page; [`Error::InvalidArgument`] for
    /// another size or version.
    pub fn at(memory: &GuestMemory, address: u64) -> Result<Self, Error> {
        let bytes = size_of::<VcpuArea>() as u64;
        let base = memory.at(address, bytes, align_of::<VcpuArea>() as u64)?;
        if address % 4096 + bytes > 4096 && !mutant!(AreaAcrossPages) {
            return Err(Error::BadAddress);
        }
        let area = area_at(base);
        let size_and_version = area.word(0).load(Ordering::Relaxed);
        let version = u64::from(pvops_abi::layout::vcpu_area::VCPU_AREA_VERSION);
        let reserved = area.word(offset_of!(VcpuArea, reserved)).load(Ordering::Relaxed);
        let is_right = size_and_version & 0xffff_ffff_ffff == bytes | version << 32;
        if !(is_right || mutant!(AreaOfAnySize)) || (reserved != 0 && !mutant!(AreaReservedTaken)) {
            return Err(Error::InvalidArgument);
        }
        Ok(area)
    }

    fn word(self, offset: usize) -> &'static AtomicU64 {
        // SAFETY: `at` checked that the area lies in the window; offsets are the layout's, and aligned.
        unsafe { &*((self.base.get() + offset as u64) as *const AtomicU64) }
    }

    fn byte(self, offset: usize) -> &'static AtomicU8 {
        // SAFETY: as in `word`.
        unsafe { &*((self.base.get() + offset as u64) as *const AtomicU8) }
    }

    /// Whether the guest kernel lets events in.
    #[must_use]
    pub fn events_enabled(self) -> bool {
        self.byte(offset_of!(VcpuArea, events_enabled)).load(Ordering::Relaxed) != 0
    }

    /// Sets the flag.
    pub fn set_events_enabled(self, enabled: bool) {
        self.byte(offset_of!(VcpuArea, events_enabled)).store(enabled.into(), Ordering::Relaxed);
    }

    /// Whether a port became pending since the guest last looked.
    #[must_use]
    pub fn events_pending(self) -> bool {
        self.byte(offset_of!(VcpuArea, events_pending)).load(Ordering::SeqCst) != 0
    }

    /// Marks an event; true if none was marked before.
    pub fn mark_pending(self, word: usize) -> bool {
        let bit = if mutant!(SelectorForgotten) { 0 } else { 1 << word };
        self.word(offset_of!(VcpuArea, selector)).fetch_or(bit, Ordering::SeqCst);
        self.byte(offset_of!(VcpuArea, events_pending)).swap(1, Ordering::SeqCst) == 0
    }

    /// Makes the guest look at every port, as after a move of the area.
    pub fn mark_all_pending(self) {
        self.word(offset_of!(VcpuArea, selector)).store(u64::MAX, Ordering::SeqCst);
        self.byte(offset_of!(VcpuArea, events_pending)).store(1, Ordering::SeqCst);
    }

    /// Makes the time fields valid; the hypervisor never changes them again.
    pub fn end_time_update(self) {
        let offset = offset_of!(VcpuArea, time_sequence) as u64;
        // SAFETY: as in `word`.
        unsafe { &*((self.base.get() + offset) as *const AtomicU32) }.store(0, Ordering::Release);
    }

    /// Stores the number of the vCPU.
    pub fn set_vcpu(self, number: u32) {
        let offset = offset_of!(VcpuArea, vcpu) as u64;
        // SAFETY: as in `word`.
        unsafe { &*((self.base.get() + offset) as *const AtomicU32) }.store(number, Ordering::Relaxed);
    }

    area_words! {
        /// Stack for entries from user mode.
        kernel_stack, set_kernel_stack: kernel_stack;
        /// User stack pointer at a system call.
        user_rsp, set_user_rsp: user_rsp;
        /// GS base of the kernel.
        kernel_gs_base, set_kernel_gs_base: kernel_gs_base;
        /// GS base of user mode.
        user_gs_base, set_user_gs_base: user_gs_base;
        /// Address of the last page fault.
        fault_address, set_fault_address: fault_address;
        /// User return address at a system call.
        user_rip, set_user_rip: user_rip;
        /// User flags at a system call.
        user_rflags, set_user_rflags: user_rflags;
        /// Clock at `time_tsc`.
        time_ns, set_time_ns: time_ns;
        /// Counter at `time_ns`.
        time_tsc, set_time_tsc: time_tsc;
        /// Nanoseconds per tick.
        time_mul, set_time_mul: time_mul;
        /// Time for which it was ready while others ran.
        stolen_ns, set_stolen_ns: stolen_ns;
        /// Faults that the guest did not see.
        hidden_faults, set_hidden_faults: hidden_faults;
    }
}

/// Words of an event page.
const PAGE_WORDS: usize = 4096 / 8;

/// The domain's event page, in its registered place.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    base: NonZeroU64,
}

impl Ports {
    /// As [`Area::at`].
    ///
    /// # Errors
    /// As there.
    pub fn at(memory: &GuestMemory, address: u64) -> Result<Self, Error> {
        let base = memory.at(address, size_of::<EventPage>() as u64, 4096)?;
        let page = Self { base: NonZeroU64::new(base).ok_or(Error::BadAddress)? };
        let version = u64::from(pvops_abi::layout::event::EVENT_PAGE_VERSION);
        let used = offset_of!(EventPage, pending) / 8..offset_of!(EventPage, reserved_tail) / 8;
        let is_right = |word| {
            let expected = if word == 0 { 4096 | version << 32 } else { 0 };
            used.contains(&word) || page.word_at(word).load(Ordering::Relaxed) == expected
        };
        if (0..PAGE_WORDS).all(is_right) { Ok(page) } else { Err(Error::InvalidArgument) }
    }

    fn word(self, offset: usize, port: u32) -> &'static AtomicU64 {
        self.word_at(offset / 8 + (port as usize / 64) % 64)
    }

    /// A word of the page, which has [`PAGE_WORDS`].
    fn word_at(self, word: usize) -> &'static AtomicU64 {
        debug_assert!(word < PAGE_WORDS);
        // SAFETY: `at` checked that the page lies in the window, and callers name words of it.
        unsafe { &*(self.base.get() as *const AtomicU64).add(word) }
    }

    /// Sets the port's pending bit.
    pub fn set_pending(self, port: u32) {
        self.word(offset_of!(EventPage, pending), port).fetch_or(1 << (port % 64), Ordering::SeqCst);
    }

    /// Whether the port is pending.
    #[must_use]
    pub fn is_pending(self, port: u32) -> bool {
        self.word(offset_of!(EventPage, pending), port).load(Ordering::SeqCst) >> (port % 64) & 1 != 0
    }

    /// Whether the guest masked the port.
    #[must_use]
    pub fn is_masked(self, port: u32) -> bool {
        self.word(offset_of!(EventPage, mask), port).load(Ordering::SeqCst) >> (port % 64) & 1 != 0
    }

    /// Sets the port's mask bit.
    pub fn set_mask(self, port: u32) {
        self.word(offset_of!(EventPage, mask), port).fetch_or(1 << (port % 64), Ordering::SeqCst);
    }

    /// Clears the port's mask bit.
    pub fn clear_mask(self, port: u32) {
        self.word(offset_of!(EventPage, mask), port).fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
    }

    /// Clears the port's pending bit.
    pub fn clear_pending(self, port: u32) {
        self.word(offset_of!(EventPage, pending), port).fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
    }
}
