//! Guest memory: by guest-physical address through the domain's window, and by the guest's own addresses.
//!
//! No Rust reference to plain data in guest memory exists: shared words are atomics, everything else is copied
//! once, and the copy is checked. A guest may change its memory at any time from another vCPU.

use super::deliver::{pvops_guest_copy, pvops_leave_program, pvops_push_trap};
use super::frame::Frame;
use super::layout::{DOMAIN_MEMORY, DOMAIN_STATE};
use super::percpu::cpu;
use crate::domain::vcpu::Vcpu;
use crate::domain::{Domain, MAX_VCPUS};
use crate::mmu::is_reserved;
use crate::mmu::memory::{GuestTable, GuestTables, HostPage};
use crate::sched::Seat;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use pvops_abi::error::Error;
use system_image::layout::MAX_DEVICES;

/// The domain that this CPU runs.
#[must_use]
pub fn domain() -> &'static Domain {
    // SAFETY: a CPU gets here only from a guest, so its loaded root carries the window of the running domain,
    // where boot placed the structure. References never outlive the entry they were made in.
    unsafe { &*(DOMAIN_STATE as *const Domain) }
}

/// The vCPU that this CPU runs, in [`domain`].
#[must_use]
pub fn current_vcpu() -> &'static Vcpu {
    if MAX_VCPUS == 1 {
        // At a constant address, as the domain.
        return &domain().vcpus[0];
    }
    // SAFETY: as in `domain`; `switch::to` set the address together with the domain's root.
    unsafe { &*(cpu().vcpu_address.get() as *const Vcpu) }
}

/// As [`domain`], on CPUs that may have none.
#[must_use]
pub fn running_domain() -> Option<&'static Domain> {
    (cpu().seat.get() != Seat::NONE).then(domain)
}

/// The running domain's memory: guest-physical 4096..`bytes`, contiguous in the host from `host`; and behind it, at the
/// addresses that they have in the host, registers of its devices. What the guest names by guest-physical address is
/// looked for in memory only.
#[derive(Clone, Copy, Debug)]
pub struct GuestMemory {
    bytes: u64,
    host: u64,
    /// First address and the one behind the last; 0 and 0: none.
    registers: [(u64, u64); MAX_DEVICES],
    /// Largest page that the CPU can map.
    largest_page: u64,
}

/// Types without invariants and without padding, which any bytes are a value of.
///
/// # Safety
/// Every bit pattern is a valid value, and there is no padding.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),*) => { $(
        // SAFETY: `repr(C)` or primitive, integers only, size asserted where it is defined.
        unsafe impl Plain for $type {}
    )* };
}
plain!(
    u8,
    u64,
    [u64; 2],
    [u64; 5],
    [u64; 8],
    pvops_abi::layout::CpuidResult,
    pvops_abi::layout::BatchEntry,
    pvops_abi::layout::IretFrame
);

impl GuestMemory {
    /// # Safety
    /// While the value is used, the domain's window maps `bytes` of memory from `host`, and no Rust object lies
    /// in that memory. `registers` are ranges behind it, of whole pages, that are no memory of the machine and nobody
    /// else's.
    #[must_use]
    pub unsafe fn new(bytes: u64, host: u64, registers: [(u64, u64); MAX_DEVICES]) -> Self {
        let largest_page = if super::cpu::has_giant_pages() { 1 << 30 } else { 1 << 21 };
        Self { bytes, host, registers, largest_page }
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the range is in memory. Page 0 is not: the memory map reserves it, so that a null address is wrong
    /// everywhere.
    #[inline]
    fn holds(&self, address: u64, bytes: u64) -> bool {
        (address >= 4096 || bytes == 0) && address.checked_add(bytes).is_some_and(|end| end <= self.bytes)
    }

    /// Where the window shows `bytes` from `address`, if they are in memory and `address` has the alignment.
    #[inline(never)]
    pub(super) fn at(&self, address: u64, bytes: u64, alignment: u64) -> Result<u64, Error> {
        // The running domain's are all there are, and stand at one address: no caller need load from there what is looked at.
        let this = &domain().memory;
        if this.holds(address, bytes) && address & (alignment - 1) == 0 {
            Ok(DOMAIN_MEMORY + address)
        } else {
            Err(Error::BadAddress)
        }
    }

    /// Where the window shows the page at `address`.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub(super) fn page(&self, address: u64) -> Result<u64, Error> {
        self.at(address, 4096, 4096)
    }

    /// Checks a range without touching it.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn check(&self, address: u64, bytes: u64, alignment: u64) -> Result<(), Error> {
        self.at(address, bytes, alignment).map(|_| ())
    }

    /// Copies a value out; `address` aligned as `T`.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn load<T: Plain>(&self, address: u64) -> Result<T, Error> {
        let at = self.at(address, size_of::<T>() as u64, align_of::<T>() as u64)?;
        // SAFETY: in the window, aligned; `T` takes any bytes. Volatile, because the guest may write meanwhile:
        // the copy may be torn, and is checked as any claim.
        Ok(unsafe { (at as *const T).read_volatile() })
    }

    /// Copies a value in.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn store<T: Plain>(&self, address: u64, value: T) -> Result<(), Error> {
        let at = self.at(address, size_of::<T>() as u64, align_of::<T>() as u64)?;
        // SAFETY: in the window, aligned, and no Rust object is there.
        unsafe { (at as *mut T).write_volatile(value) };
        Ok(())
    }

    /// Does `work` with bytes shared with the guest.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    #[inline]
    pub fn with_bytes<R>(
        &self,
        address: u64,
        bytes: u64,
        work: impl FnOnce(&[AtomicU8]) -> R,
    ) -> Result<R, Error> {
        let at = self.at(address, bytes, 1)?;
        // SAFETY: in the window, which stays while the domain runs, and this is used only then.
        Ok(work(unsafe { core::slice::from_raw_parts(at as *const AtomicU8, bytes as usize) }))
    }

    /// A word shared with the guest.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    #[inline]
    pub fn word(&self, address: u64) -> Result<&'static AtomicU64, Error> {
        // Memory ends with a page, so an aligned word that begins in it also ends in it.
        if address & 7 != 0 || !self.has_page(address) {
            return Err(Error::BadAddress);
        }
        let at = DOMAIN_MEMORY + address;
        // SAFETY: in the window, aligned; the window stays while the domain runs, and this is used only then.
        Ok(unsafe { &*(at as *const AtomicU64) })
    }

    /// Whether the page around `address` is in memory, which ends with a page.
    #[inline(always)]
    fn has_page(&self, address: u64) -> bool {
        address.wrapping_sub(4096) < self.bytes - 4096
    }
}

impl GuestTable for &[AtomicU64; 512] {
    #[inline(always)]
    fn load(self, index: usize) -> u64 {
        self[index].load(Ordering::Acquire)
    }

    #[inline(always)]
    fn set_bits(self, index: usize, expected: u64, bits: u64) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self[index].compare_exchange(expected, expected | bits, order.0, order.1).is_ok()
    }
}

impl GuestTables for GuestMemory {
    type Table<'a> = &'a [AtomicU64; 512];

    #[inline(always)]
    fn table(&self, address: u64) -> Option<&[AtomicU64; 512]> {
        if !self.has_page(address) {
            return None;
        }
        let at = (DOMAIN_MEMORY + (address & !0xfff)) as *const [AtomicU64; 512];
        // SAFETY: `DOMAIN_MEMORY` is not 0 and the sum does not wrap. It is said because it saves an instruction.
        unsafe { core::hint::assert_unchecked(!at.is_null()) };
        // SAFETY: a page of the window; the window stays while the domain runs, and this is used only then.
        Some(unsafe { &*at })
    }

    fn to_host(&self, address: u64, bytes: u64) -> Option<HostPage> {
        if bytes > self.largest_page {
            return None;
        }
        if self.holds(address, bytes) || (mutant!(FrameOfOthers) && bytes == 4096 && address < 2 * self.bytes)
        {
            let host = self.host.checked_add(address)?;
            return (host & (bytes - 1) == 0).then(|| HostPage::memory(host));
        }
        let end = address.checked_add(bytes)?;
        let is_register = |&(first, behind): &(u64, u64)| first <= address && end <= behind;
        self.registers.iter().any(is_register).then(|| HostPage::registers(address))
    }

    #[inline(always)]
    fn page_of_memory(&self, address: u64) -> Option<u64> {
        // The host's address is a multiple of 4096, and does not wrap: it is memory.
        self.has_page(address).then(|| self.host.wrapping_add(address))
    }
}

/// The guest's memory was not accessible at its own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAccessible;

/// Whether an access of less than a page from `address` upwards stays out of the hypervisor's slots. What is not
/// canonical faults; below the slots lies nothing else.
fn is_guest_range(address: u64) -> bool {
    !is_reserved(address)
}

/// Faults that one copy may take: it touches at most two pages, each may be absent, then read-only; the rest is
/// for entries that another vCPU changes meanwhile.
const MOST_FAULTS: u32 = 16;

/// Delivers to the handler at `entry`, but for the registers with which it starts: stores a
/// [`DeliveredFrame`](pvops_abi::layout::frame::DeliveredFrame) and enters the kernel's mode. `flags`: a gate's. `stack`:
/// where, if not 0; else where the kernel expects it. Faults there are served as the guest kernel's own stores; what cannot
/// be served is the error, and nothing has changed then. `frame` is this CPU's.
///
/// # Errors
/// [`NotAccessible`].
pub fn push_trap(
    stack: u64,
    entry: u64,
    error: u64,
    flags: u64,
    frame: &mut Frame,
) -> Result<(), NotAccessible> {
    cpu().guest_faults_left.set(MOST_FAULTS);
    // SAFETY: only guest memory outside the hypervisor's slots is touched, and of `frame` what the function says. A fault
    // ends the stores and returns 0.
    let done = unsafe { pvops_push_trap(stack, entry, error, flags, frame) };
    cpu().guest_faults_left.set(0);
    if done != 0 { Ok(()) } else { Err(NotAccessible) }
}

/// Out of a program by a system call, as [`push_trap`]: what it leaves is in its vCPU's area, which it has.
pub fn leave_program(frame: &Frame) {
    // SAFETY: the entry code for system calls, which a program has made; `frame` is only read, and this CPU's.
    unsafe { pvops_leave_program(frame) };
}

/// The byte at the guest-virtual `address`, as [`push_trap`].
///
/// # Errors
/// [`NotAccessible`].
#[inline(never)]
pub fn load_byte(address: u64) -> Result<u8, NotAccessible> {
    Ok((load_virtual::<u64>(address & !7)? >> ((address & 7) * 8)) as u8)
}

/// Copies a value from the guest-virtual `address`, as [`push_trap`].
///
/// # Errors
/// [`NotAccessible`].
pub fn load_virtual<T: Plain>(address: u64) -> Result<T, NotAccessible> {
    let mut value = MaybeUninit::<T>::uninit();
    copy(value.as_mut_ptr().cast(), address as *const u64, address, size_of::<T>())?;
    // SAFETY: all of it was copied, and `T` takes any bytes.
    Ok(unsafe { value.assume_init() })
}

fn copy(to: *mut u64, from: *const u64, guest: u64, bytes: usize) -> Result<(), NotAccessible> {
    if !bytes.is_multiple_of(8) || guest & 7 != 0 || !is_guest_range(guest) {
        return Err(NotAccessible);
    }
    // In the user view, a fill on behalf of the kernel would be no help.
    super::paging::load_view(current_vcpu().root.get().kernel);
    cpu().guest_faults_left.set(MOST_FAULTS);
    // SAFETY: the guest's side lies outside the hypervisor's slots, so only guest memory is touched there; the
    // other side is a `T` of the caller's. A fault ends the copy and returns 0.
    let done = unsafe { pvops_guest_copy(to, from, bytes / 8) };
    cpu().guest_faults_left.set(0);
    if done != 0 { Ok(()) } else { Err(NotAccessible) }
}
