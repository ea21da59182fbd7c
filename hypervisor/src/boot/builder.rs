//! Builds a domain in its memory: image, boot tables, stack, hypercall page, `StartInfo`.
//!
//! Pure logic over the bytes of guest memory, so that it runs under `cargo test`. The layout in guest-physical
//! memory: nothing in page 0; the image at 2 MiB or where its note wants it; behind it the hypercall page, start information, stack and
//! tables; the rest is free.

use super::elf::Kernel;
use super::refusal::Refusal;
use crate::front::frames::SELECTORS;
use crate::mmu::bits::{FRAME, LARGE, NO_EXECUTE, PRESENT, WRITABLE};
use crate::mmu::{HYPERVISOR_LAST, HYPERVISOR_START, index, span};
use pvops_abi::call::{CALL_STUB_OFFSET, Cpu, IRET_STUB_OFFSET};
use pvops_abi::layout::start_info::{
    ExecutionMode, START_INFO_MAGIC, START_INFO_VERSION, VirtRange, implementation,
};
use pvops_abi::layout::{MemoryKind, MemoryRegion, StartInfo};
use pvops_abi::version;
use system_image::Device;
use system_image::layout::MAX_DEVICES;

const PAGE: u64 = 4096;
const LARGE_PAGE: u64 = 1 << 21;
/// Where the image goes in guest-physical memory.
const IMAGE_PHYS: u64 = LARGE_PAGE;
/// Where a relocatable image goes in virtual memory.
const IMAGE_VIRT: u64 = 0xffff_ffff_8000_0000;
/// Where the boot tables map all memory: behind the slots that are the hypervisor's.
const PHYSICAL_MAP: u64 = 0xffff_8880_0000_0000;
const STACK_BYTES: u64 = 64 << 10;
/// Pages for `StartInfo`, memory map and command line.
const INFO_BYTES: u64 = 2 * PAGE;
const COMMAND_LINE_OFFSET: u64 = PAGE;

/// What the machine and the manifest say about a domain.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its command line; at most a page.
    pub command_line: &'a str,
    /// Its vCPUs.
    pub vcpu_count: u32,
    /// Ticks per second of the time-stamp counter.
    pub tsc_hz: u64,
    /// Its devices, whose registers lie behind its memory.
    pub devices: &'a [Device],
}

/// Where the first vCPU starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Entry by the note.
    pub rip: u64,
    /// Top of the boot stack.
    pub rsp: u64,
    /// Virtual address of `StartInfo`.
    pub start_info: u64,
    /// Guest-physical address of the boot tables' PML4.
    pub root: u64,
    /// Guest-physical bounds of everything that is not zero.
    pub filled: [u64; 2],
}

/// Builds the domain in `memory`, which is zero and a multiple of 2 MiB.
///
/// # Errors
/// [`Refusal`].
pub fn build(memory: &mut [u8], kernel: &Kernel<'_>, request: Request<'_>) -> Result<Start, Refusal> {
    let bytes = memory.len() as u64;
    let image_phys = image_phys(kernel)?;
    let after_image = image_phys.checked_add(kernel.image_bytes).ok_or(Refusal::TooLarge)?;
    let hypercall_page = after_image;
    let info = hypercall_page + PAGE;
    let stack = info + INFO_BYTES;
    let tables = stack + STACK_BYTES;
    // A page table per 2 MiB of image, a directory per GiB of memory, and a few pages on top.
    let table_bytes = (kernel.image_bytes / LARGE_PAGE + (bytes >> 30) + 16) * PAGE;
    if tables + table_bytes > bytes || request.command_line.len() as u64 > PAGE {
        return Err(Refusal::TooLarge);
    }
    let virt = if kernel.relocatable { IMAGE_VIRT } else { kernel.start };
    let extras = virt
        .checked_add(kernel.image_bytes)
        .and_then(|end| end.checked_next_multiple_of(LARGE_PAGE))
        .and_then(|end| end.checked_add(LARGE_PAGE))
        .ok_or(Refusal::SegmentOutOfRange)?;
    let extras_end = extras.checked_add(2 * PAGE + STACK_BYTES + PAGE).ok_or(Refusal::SegmentOutOfRange)?;
    check_ranges(kernel, virt, extras_end, bytes)?;
    let image = &mut memory[image_phys as usize..after_image as usize];
    kernel.load(image, virt.wrapping_sub(kernel.start))?;
    if mutant!(MemoryDirty) {
        memory[bytes as usize - 8] = 1;
    }
    write_hypercall_page(&mut memory[hypercall_page as usize..][..PAGE as usize]);

    let mut builder = Tables { memory, root: tables, next: tables + PAGE, end: tables + table_bytes };
    map_image(&mut builder, kernel, virt, image_phys)?;
    let hypercall_virt = extras;
    let stack_virt = extras + 2 * PAGE;
    builder.map(hypercall_virt, hypercall_page, 1, PRESENT)?;
    for offset in (0..STACK_BYTES).step_by(PAGE as usize) {
        builder.map(stack_virt + offset, stack + offset, 1, PRESENT | WRITABLE | NO_EXECUTE)?;
    }
    for phys in (0..bytes).step_by(LARGE_PAGE as usize) {
        builder.map(PHYSICAL_MAP + phys, phys, 2, PRESENT | WRITABLE | NO_EXECUTE)?;
    }
    let tables_end = builder.next;

    let memory_map = [
        region(0, PAGE, MemoryKind::Reserved),
        region(PAGE, image_phys, MemoryKind::Usable),
        region(image_phys, after_image, MemoryKind::Kernel),
        region(hypercall_page, info, MemoryKind::HypercallPage),
        region(info, stack, MemoryKind::StartInfo),
        region(stack, tables_end, MemoryKind::BootReclaimable),
        region(tables_end, bytes, MemoryKind::Usable),
    ];
    let mut regions: heapless::Vec<MemoryRegion, { 7 + MAX_DEVICES }> = memory_map.into_iter().collect();
    let registers = request.devices.iter().filter_map(|device| device.mmio);
    regions.extend(registers.map(|range| region(range.base, range.end(), MemoryKind::Device)));
    regions.sort_unstable_by_key(|region| region.start);
    if mutant!(MapUnsorted) {
        regions.swap(1, 2);
    }
    let start_info = StartInfo {
        magic: START_INFO_MAGIC,
        size: size_of::<StartInfo>() as u32,
        version: START_INFO_VERSION,
        reserved: 0,
        abi_version: version::CURRENT.to_bits(),
        implementation: implementation::PVOPS_HYPERVISOR,
        execution_mode: ExecutionMode::Deprivileged as u32,
        vcpu_count: request.vcpu_count + u32::from(mutant!(VcpuTooMany)),
        memory_map: info + size_of::<StartInfo>() as u64,
        memory_map_count: regions.len() as u32,
        command_line_bytes: request.command_line.len() as u32,
        command_line: info + COMMAND_LINE_OFFSET,
        ramdisk: 0,
        ramdisk_bytes: 0,
        physical_map: PHYSICAL_MAP,
        kernel_virt: virt,
        kernel_phys: image_phys,
        kernel_bytes: kernel.image_bytes,
        boot_root: tables,
        boot_stack_base: stack_virt,
        boot_stack_bytes: STACK_BYTES,
        hypercall_page_phys: hypercall_page,
        hypercall_page_virt: hypercall_virt,
        tsc_hz: request.tsc_hz,
        selectors: SELECTORS,
        usable_range: VirtRange { start: 0, last: u64::MAX },
        reserved_range_count: 1,
        reserved_ranges: reserved_ranges(),
    };
    write_info(&mut memory[info as usize..][..INFO_BYTES as usize], &start_info, &regions, request);
    Ok(Start {
        rip: virt.wrapping_add(kernel.entry - kernel.start),
        // As after a call: 8 modulo 16.
        rsp: stack_virt + STACK_BYTES - 8,
        start_info: PHYSICAL_MAP + info,
        root: tables,
        filled: [image_phys & !(PAGE - 1), tables_end],
    })
}

/// Where the image goes: where its note says, behind page 0 and a page of free memory, or at 2 MiB.
fn image_phys(kernel: &Kernel<'_>) -> Result<u64, Refusal> {
    match kernel.load_address {
        Some(address) if address < 2 * PAGE || !address.is_multiple_of(PAGE) => Err(Refusal::BadLoadAddress),
        Some(address) if address > 1 << 46 => Err(Refusal::TooLarge),
        Some(address) => Ok(address),
        None => Ok(IMAGE_PHYS),
    }
}

fn reserved_ranges() -> [VirtRange; 4] {
    let mut ranges = [VirtRange::default(); 4];
    ranges[0] = VirtRange { start: HYPERVISOR_START, last: HYPERVISOR_LAST };
    ranges
}

fn region(start: u64, end: u64, kind: MemoryKind) -> MemoryRegion {
    MemoryRegion { start, bytes: end - start, kind: kind as u32, reserved: 0 }
}

/// What the kernel needs for itself, and where it goes, must be free of everybody else's ranges.
fn check_ranges(kernel: &Kernel<'_>, virt: u64, extras_end: u64, bytes: u64) -> Result<(), Refusal> {
    let clash = |start: u64, last: u64, other: (u64, u64)| start <= other.1 && other.0 <= last;
    let hypervisor = (HYPERVISOR_START, HYPERVISOR_LAST);
    let map = (PHYSICAL_MAP, PHYSICAL_MAP + (bytes - 1));
    let image = (virt, extras_end - 1);
    let is_canonical = |address: u64| ((address as i64) << 16 >> 16) as u64 == address;
    if extras_end <= virt || !is_canonical(virt) || !is_canonical(extras_end) {
        return Err(Refusal::SegmentOutOfRange);
    }
    if clash(image.0, image.1, hypervisor) || clash(image.0, image.1, map) {
        return Err(Refusal::RangeClash);
    }
    let taken = [hypervisor, map, image];
    for range in &kernel.ranges {
        if range.last < range.start {
            return Err(Refusal::MalformedNotes);
        }
        if taken.iter().any(|other| clash(range.start, range.last, *other)) {
            return Err(Refusal::RangeClash);
        }
    }
    Ok(())
}

/// The stubs: `endbr64; syscall; ret` for calls, and `endbr64; mov eax, id; syscall; ud2` for iret.
fn write_hypercall_page(page: &mut [u8]) {
    page.fill(0xcc);
    let call = [if mutant!(EndbrMissing) { 0x90 } else { 0xf3 }, 0x0f, 0x1e, 0xfa, 0x0f, 0x05, 0xc3];
    let [a, b, c, d] = (Cpu::Iret.id().0 as u32).to_le_bytes();
    let iret = [0xf3, 0x0f, 0x1e, 0xfa, 0xb8, a, b, c, d, 0x0f, 0x05, 0x0f, 0x0b];
    page[CALL_STUB_OFFSET as usize..][..call.len()].copy_from_slice(&call);
    page[IRET_STUB_OFFSET as usize..][..iret.len()].copy_from_slice(&iret);
}

fn map_image(tables: &mut Tables<'_>, kernel: &Kernel<'_>, virt: u64, phys: u64) -> Result<(), Refusal> {
    for segment in &kernel.segments {
        let mut flags = PRESENT;
        if segment.writable {
            flags |= WRITABLE;
        }
        if !segment.executable {
            flags |= NO_EXECUTE;
        }
        let first = (segment.virt - kernel.start) & !(PAGE - 1);
        let end = segment.virt - kernel.start + segment.memory_bytes;
        for offset in (first..end).step_by(PAGE as usize) {
            tables.map(virt + offset, phys + offset, 1, flags)?;
        }
    }
    Ok(())
}

/// Boot tables in the making.
struct Tables<'a> {
    memory: &'a mut [u8],
    root: u64,
    next: u64,
    end: u64,
}

impl Tables<'_> {
    fn read(&self, table: u64, at: usize) -> u64 {
        let place = table as usize + at * 8;
        let mut word = [0; 8];
        word.copy_from_slice(&self.memory[place..place + 8]);
        u64::from_le_bytes(word)
    }

    fn write(&mut self, table: u64, at: usize, entry: u64) {
        let place = table as usize + at * 8;
        self.memory[place..place + 8].copy_from_slice(&entry.to_le_bytes());
    }

    /// Maps the page of `level` at `virt`. No user pages: boot tables are the kernel's.
    fn map(&mut self, virt: u64, phys: u64, level: u8, flags: u64) -> Result<(), Refusal> {
        let mut table = self.root;
        for upper in (level + 1..=4).rev() {
            let at = index(virt, upper);
            let entry = self.read(table, at);
            table = if entry & PRESENT != 0 {
                entry & FRAME
            } else {
                let new = self.next;
                if new >= self.end {
                    return Err(Refusal::TooLarge);
                }
                self.next += PAGE;
                self.write(table, at, new | PRESENT | WRITABLE);
                new
            };
        }
        debug_assert!(phys.is_multiple_of(span(level)));
        let large = if level > 1 { LARGE } else { 0 };
        self.write(table, index(virt, level), phys | flags | large);
        Ok(())
    }
}

/// `StartInfo`, behind it the memory map, on the next page the command line.
fn write_info(place: &mut [u8], start_info: &StartInfo, regions: &[MemoryRegion], request: Request<'_>) {
    let mut writer = Writer { place, at: 0 };
    writer.start_info(start_info);
    for region in regions {
        writer.words(&[region.start, region.bytes]);
        writer.half_words(&[region.kind, region.reserved]);
    }
    let line = request.command_line.as_bytes();
    writer.place[COMMAND_LINE_OFFSET as usize..][..line.len()].copy_from_slice(line);
}

/// Writes integers one after the other, little-endian, as the layouts in `pvops_abi` have no holes.
struct Writer<'a> {
    place: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.place[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.bytes(&word.to_le_bytes());
        }
    }

    fn half_words(&mut self, words: &[u32]) {
        for word in words {
            self.bytes(&word.to_le_bytes());
        }
    }

    fn start_info(&mut self, info: &StartInfo) {
        self.words(&[info.magic]);
        self.half_words(&[info.size]);
        self.bytes(&info.version.to_le_bytes());
        self.bytes(&info.reserved.to_le_bytes());
        self.half_words(&[info.abi_version, info.implementation, info.execution_mode, info.vcpu_count]);
        self.words(&[info.memory_map]);
        self.half_words(&[info.memory_map_count, info.command_line_bytes]);
        self.words(&[
            info.command_line,
            info.ramdisk,
            info.ramdisk_bytes,
            info.physical_map,
            info.kernel_virt,
            info.kernel_phys,
            info.kernel_bytes,
            info.boot_root,
            info.boot_stack_base,
            info.boot_stack_bytes,
            info.hypercall_page_phys,
            info.hypercall_page_virt,
            info.tsc_hz,
        ]);
        let selectors = info.selectors;
        for selector in [selectors.kernel_cs, selectors.kernel_ss, selectors.user_cs, selectors.user_ss] {
            self.bytes(&selector.to_le_bytes());
        }
        self.words(&[info.usable_range.start, info.usable_range.last, info.reserved_range_count]);
        for range in info.reserved_ranges {
            self.words(&[range.start, range.last]);
        }
        assert_eq!(self.at, size_of::<StartInfo>());
    }
}
