//! Gives a domain its memory, its state and its place on a CPU.

use super::super::cpu::has_giant_pages;
use super::super::frame::Frame;
use super::super::guest::GuestMemory;
use super::super::layout::{DOMAIN_MEMORY, DOMAIN_STATE};
use super::super::paging::PoolTables;
use super::super::pristine::Pristine;
use super::super::segments::selector;
use super::memory::bytes_at;
use super::tables::{self, DATA};
use super::{BootMemory, Machine};
use crate::boot::builder::Start;
use crate::boot::refusal::Refusal;
use crate::domain::crash::Cause;
use crate::domain::devices::Devices;
use crate::domain::restart::RestartLog;
use crate::domain::vcpu::Vcpu;
use crate::domain::{Domain, MAX_VCPUS, NAME_BYTES, console, events, registry};
use crate::mmu::bits::{ACCESSED, PRESENT, WRITABLE};
use crate::mmu::pool::{PageInfo, Pool};
use crate::mmu::shadow::Shadow;
use crate::mmu::{HYPERVISOR_FIRST_SLOT, index};
use crate::sched::VcpuId;
use core::cell::Cell;
use core::ptr;
use spin::Mutex;
use system_image::layout::{MAX_CHANNELS, MAX_DEVICES};
use system_image::{ChannelEnd, CrashPolicy};

const PAGE: u64 = 4096;
const LARGE_PAGE: u64 = 1 << 21;
const GIGABYTE: u64 = 1 << 30;

/// Host memory of a domain during boot.
pub struct DomainMemory {
    phys: u64,
    bytes: u64,
}

impl DomainMemory {
    /// Its bytes, by the boot loader's map.
    pub fn bytes(&mut self) -> &'static mut [u8] {
        bytes_at(self.phys, self.bytes)
    }
}

/// A domain that was built, and where it goes.
#[derive(Debug)]
pub struct Placed {
    /// Number in the system image.
    pub number: u16,
    /// Name, padded with zeros.
    pub name: [u8; NAME_BYTES],
    /// Whether the machine's console is its.
    pub has_console: bool,
    /// What happens when it crashes.
    pub crash_policy: CrashPolicy,
    /// CPU that runs it.
    pub cpu: u32,
    /// Priority there.
    pub priority: u8,
    /// Where it starts.
    pub start: Start,
    /// Registers of its devices: first address and the one behind the last; 0 and 0: none.
    pub registers: [(u64, u64); MAX_DEVICES],
    /// Its devices.
    pub devices: Devices,
    /// Its ends of channels.
    pub channels: heapless::Vec<ChannelEnd, MAX_CHANNELS>,
}

impl Machine {
    /// Takes zeroed memory for a domain, aligned so that large pages stay large.
    pub fn allocate_domain(&mut self, bytes: u64) -> Option<DomainMemory> {
        let large = (bytes >= GIGABYTE).then(|| self.memory.take(bytes, GIGABYTE, false)).flatten();
        let phys = large.or_else(|| self.memory.take(bytes, LARGE_PAGE, false))?;
        Some(DomainMemory { phys, bytes })
    }

    /// Puts the domain's memory and state into the address space of the CPU it is placed on.
    ///
    /// # Errors
    /// [`Refusal::NoMemory`].
    pub fn install_domain(&mut self, memory: DomainMemory, placed: Placed) -> Result<(), Refusal> {
        let pages = system_image::limits::pool_pages(memory.bytes);
        let structure = (size_of::<Domain>() as u64).next_multiple_of(PAGE);
        let information = (pages * size_of::<PageInfo>() as u64).next_multiple_of(PAGE);
        let [filled_start, filled_end] = placed.start.filled;
        let state_bytes = structure + information + pages * PAGE;
        let bytes = state_bytes + (filled_end - filled_start);
        let state = self.memory.take(bytes, PAGE, false).ok_or(Refusal::NoMemory)?;

        let memory_entry = window(&mut self.memory, DOMAIN_MEMORY, &memory);
        let pointers = self.memory.take_page();
        for offset in (0..bytes).step_by(PAGE as usize) {
            let virt = DOMAIN_STATE + offset;
            tables::map(&mut self.memory, pointers, 3, 1, virt, state + offset, DATA);
        }
        let cpu = &mut self.cpus[placed.cpu as usize];
        if placed.devices.has_ports {
            cpu.map_io_bitmap(&mut self.memory);
        }
        let mut entries = cpu.hypervisor_entries();
        entries[index(DOMAIN_MEMORY, 4) - HYPERVISOR_FIRST_SLOT] = memory_entry;
        entries[index(DOMAIN_STATE, 4) - HYPERVISOR_FIRST_SLOT] = pointers | PRESENT | WRITABLE | ACCESSED;

        // The root by which the CPU reaches the domain before the guest's own is loaded.
        let root = self.memory.take_page();
        for (slot, entry) in entries.iter().enumerate() {
            tables::write(root, HYPERVISOR_FIRST_SLOT + slot, *entry);
        }
        let id = VcpuId { domain: placed.number, vcpu: 0 };
        registry::boot::add(id, placed.cpu, placed.priority, root);
        console::boot::introduce(placed.number, placed.name);
        if placed.has_console {
            console::boot::join(placed.number);
        }
        let filled = bytes_at(memory.phys + filled_start, filled_end - filled_start);
        bytes_at(state + state_bytes, filled_end - filled_start).copy_from_slice(filled);
        let place = Place { state, structure, information, pages, window_root: root };
        place.write(entries, &memory, placed);
        Ok(())
    }
}

/// A directory-pointer table that maps the domain's memory with the largest pages.
fn window(boot: &mut BootMemory, virt: u64, memory: &DomainMemory) -> u64 {
    let pointers = boot.take_page();
    let mut offset = 0;
    while offset < memory.bytes {
        let phys = memory.phys + offset;
        let is_giant = phys.is_multiple_of(GIGABYTE) && offset.is_multiple_of(GIGABYTE) && has_giant_pages();
        let level = if is_giant && memory.bytes - offset >= GIGABYTE { 3 } else { 2 };
        tables::map(boot, pointers, 3, level, virt + offset, phys, DATA);
        offset += crate::mmu::span(level);
    }
    pointers | PRESENT | WRITABLE | ACCESSED
}

/// Registers at the entry of the guest kernel.
fn first_frame(start: Start) -> Frame {
    Frame {
        rip: start.rip,
        rsp: start.rsp,
        rdi: start.start_info,
        rbx: mutant!(EntryRegisterDirty).into(),
        rflags: 0x202,
        cs: selector::USER_CODE.into(),
        ss: selector::USER_DATA.into(),
        ..Frame::default()
    }
}

/// The parts of a domain's state in host memory.
struct Place {
    state: u64,
    structure: u64,
    information: u64,
    pages: u64,
    window_root: u64,
}

impl Place {
    /// Writes the domain's structure through the boot loader's map, with the addresses of its window inside.
    fn write(&self, hypervisor: [u64; crate::mmu::HYPERVISOR_SLOTS], memory: &DomainMemory, placed: Placed) {
        let information = DOMAIN_STATE + self.structure;
        let pool = information + self.information;
        let pool_phys = self.state + self.structure + self.information;
        let info: &'static mut [PageInfo] = {
            let bytes = bytes_at(self.state + self.structure, self.information);
            // SAFETY: zeroed memory is a valid `PageInfo`; this slice is used for the initial links only.
            unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), self.pages as usize) }
        };
        let [filled_start, filled_end] = placed.start.filled;
        // SAFETY: the window maps pool, memory and the copy of what was filled at these addresses wherever the structure is
        // reachable. The registers were checked against the machine's memory map and the devices of all domains.
        let (tables, memory, pristine) = unsafe {
            (
                PoolTables::new(pool, pool_phys, self.pages as u32, hypervisor),
                GuestMemory::new(memory.bytes, memory.phys, placed.registers),
                Pristine::new(pool + self.pages * PAGE, filled_start, filled_end),
            )
        };
        // SAFETY: the same memory as the window shows it; it is used only there, from now on.
        let shown =
            unsafe { core::slice::from_raw_parts_mut(information as *mut PageInfo, self.pages as usize) };
        let pool = Pool::new(info).moved(shown);
        let domain = Domain {
            number: placed.number,
            has_console: placed.has_console,
            crash_policy: placed.crash_policy,
            restarts: RestartLog::new(),
            chore: Cell::default(),
            crash: Cell::new(Cause::ASKED),
            memory,
            pristine,
            mmu: Mutex::new(Shadow::new(tables, pool)),
            ports: Cell::new(None),
            devices: placed.devices,
            bindings: Mutex::new(events::Bindings::new()),
            channels: placed.channels,
            vcpus: core::array::from_fn(|number| {
                let roots = [placed.start.root, self.window_root];
                let entry = registry::entry(VcpuId { domain: placed.number, vcpu: number as u16 });
                Vcpu::new(number as u32, placed.cpu, entry, roots, first_frame(placed.start))
            }),
            vcpu_count: 1,
        };
        let target = bytes_at(self.state, self.structure).as_mut_ptr();
        // SAFETY: page-aligned memory of that size, of nobody else; it is reached as a `Domain` only later,
        // through the window.
        unsafe { ptr::write(target.cast(), domain) };
        const { assert!(MAX_VCPUS >= 1) };
    }
}
