//! A guest's ELF file, from its bytes to a domain that could start.
//!
//! Whatever is accepted is mapped wholly inside its memory, with no page both writable and executable and none
//! open to user mode, starts in code on a stack that can be written, and has a memory map without gaps.

use crate::Outcome;
use hypervisor::boot::builder::{Request, Start, build};
use hypervisor::boot::elf::Kernel;
use hypervisor::mmu::bits::{FRAME, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use hypervisor::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index, span};
use pvops_abi::layout::start_info::ExecutionMode;
use pvops_abi::layout::{MemoryKind, MemoryRegion, StartInfo};
use pvops_abi::note::NoteType;
use pvops_abi::version;
use std::cell::RefCell;
use std::mem::offset_of;

/// The least memory that a domain has.
const MEMORY_BYTES: usize = 8 << 20;
const PAGE: u64 = 4096;
const COMMAND_LINE: &str = "run=demo";

thread_local! {
    /// Zero between two inputs: to allocate it anew would take most of the time.
    static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; MEMORY_BYTES]);
}

/// See the module.
pub fn run(input: &[u8]) -> Outcome {
    let kernel = match Kernel::parse(input) {
        Ok(kernel) => kernel,
        Err(refusal) => return refusal as Outcome,
    };
    check_kernel(&kernel, input);
    MEMORY.with_borrow_mut(|memory| {
        let request =
            Request { command_line: COMMAND_LINE, vcpu_count: 1, tsc_hz: 1_000_000_000, devices: &[] };
        let outcome = match build(memory, &kernel, request) {
            Ok(start) => {
                Built { memory, start }.check(&kernel);
                0x200 + kernel.segments.len() as Outcome * 8 + kernel.ranges.len() as Outcome
            }
            Err(refusal) => 0x100 + refusal as Outcome,
        };
        memory.fill(0);
        outcome
    })
}

/// What holds before it is known where the kernel will be.
fn check_kernel(kernel: &Kernel<'_>, file: &[u8]) {
    assert!(kernel.start.is_multiple_of(PAGE) && kernel.image_bytes.is_multiple_of(PAGE));
    let image_end = kernel.start.checked_add(kernel.image_bytes).expect("an image that wraps");
    let mut end = kernel.start;
    for segment in &kernel.segments {
        assert!(!(segment.writable && segment.executable));
        assert!(segment.file_bytes <= segment.memory_bytes && segment.memory_bytes != 0);
        assert!(segment.file_offset.checked_add(segment.file_bytes).unwrap() <= file.len() as u64);
        assert!(segment.virt & !(PAGE - 1) >= end, "segments share a page");
        end = segment.virt.checked_add(segment.memory_bytes).unwrap().next_multiple_of(PAGE);
    }
    assert_eq!(end, image_end);
}

/// A domain that was built.
struct Built<'a> {
    memory: &'a [u8],
    start: Start,
}

impl Built<'_> {
    fn word(&self, phys: u64) -> u64 {
        let at = phys as usize;
        u64::from_le_bytes(self.memory[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Guest-physical address and leaf behind a virtual address.
    fn translate(&self, virt: u64) -> Option<(u64, u64)> {
        let mut table = self.start.root;
        for level in (1..=4).rev() {
            let entry = self.word(table + index(virt, level) as u64 * 8);
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || entry & LARGE != 0 {
                let page = entry & FRAME & !(span(level) - 1);
                return Some((page + (virt & (span(level) - 1)), entry));
            }
            table = entry & FRAME;
        }
        None
    }

    /// A field of `StartInfo`.
    fn field(&self, offset: usize) -> u64 {
        let (info, _) = self.translate(self.start.start_info).expect("StartInfo is mapped");
        self.word(info + offset as u64)
    }

    fn check(&self, kernel: &Kernel<'_>) {
        self.check_table(self.start.root, 4);
        let hypervisor = HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS;
        assert!(hypervisor.clone().all(|slot| self.word(self.start.root + slot as u64 * 8) == 0));
        let (_, code) = self.translate(self.start.rip).expect("the entry is mapped");
        assert!(code & NO_EXECUTE == 0 && code & WRITABLE == 0);
        let (_, stack) = self.translate(self.start.rsp).expect("the stack is mapped");
        assert!(stack & WRITABLE != 0 && self.start.rsp % 16 == 8);
        assert_eq!(self.field(offset_of!(StartInfo, kernel_bytes)), kernel.image_bytes);
        self.check_contents(kernel);
        self.check_memory_map();
    }

    /// Every leaf maps memory of the domain, for the kernel only, never both writable and executable.
    fn check_table(&self, table: u64, level: u8) {
        for at in 0..512 {
            let entry = self.word(table + at * 8);
            if entry & PRESENT == 0 {
                assert_eq!(entry, 0);
                continue;
            }
            assert!(entry & USER == 0, "a boot table is open to user mode");
            if level == 1 || entry & LARGE != 0 {
                let page = entry & FRAME;
                assert!(page.is_multiple_of(span(level)) && page + span(level) <= MEMORY_BYTES as u64);
                assert!(entry & WRITABLE == 0 || entry & NO_EXECUTE != 0, "writable and executable");
            } else {
                self.check_table(entry & FRAME, level - 1);
            }
        }
    }

    /// Segments are mapped with their rights, one behind the other as linked; code is as in the file.
    fn check_contents(&self, kernel: &Kernel<'_>) {
        let virt = self.field(offset_of!(StartInfo, kernel_virt));
        let phys = self.field(offset_of!(StartInfo, kernel_phys));
        for segment in &kernel.segments {
            let offset = segment.virt - kernel.start;
            let last = segment.memory_bytes - 1;
            for at in [offset, offset + last] {
                let (place, leaf) = self.translate(virt + at).expect("a segment is mapped");
                assert_eq!(place, phys + at);
                assert_eq!(leaf & WRITABLE != 0, segment.writable);
                assert_eq!(leaf & NO_EXECUTE == 0, segment.executable);
            }
        }
    }

    /// Sorted, without gaps, covers all memory; what is called usable was not written.
    fn check_memory_map(&self) {
        let map = self.field(offset_of!(StartInfo, memory_map));
        let count = self.field(offset_of!(StartInfo, memory_map_count)) & 0xffff_ffff;
        let mut end = 0;
        for number in 0..count {
            let region = map + number * size_of::<MemoryRegion>() as u64;
            let [start, bytes, kind] = [0, 8, 16].map(|offset| self.word(region + offset));
            assert_eq!(start, end);
            assert!(bytes != 0 && bytes.is_multiple_of(PAGE));
            end = start + bytes;
            if kind == MemoryKind::Usable as u64 {
                let free = &self.memory[start as usize..end as usize];
                assert!(free.as_chunks::<4096>().0.iter().all(|page| *page == [0; 4096]));
            }
        }
        assert_eq!(end, MEMORY_BYTES as u64);
    }
}

/// Small kernels that are accepted: relocatable with everything, and fixed.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut with_ranges = Elf::default();
    with_ranges.notes.push((NoteType::Range as u32, vec![0x10_0000_0000, 0x10_0000_ffff]));
    with_ranges.notes.push((NoteType::LoadAddress as u32, vec![0x40_0000]));
    let fixed = Elf { base: 0xffff_9000_0000_0000, kind: 2, ..Elf::default() };
    [Elf::default(), with_ranges, fixed].iter().map(Elf::bytes).collect()
}

/// An ELF file as small as it can be: its parts share one page of the file.
struct Elf {
    base: u64,
    kind: u16,
    notes: Vec<(u32, Vec<u64>)>,
}

impl Default for Elf {
    fn default() -> Self {
        let modes = 1 << ExecutionMode::Deprivileged as u64;
        let notes = vec![
            (NoteType::Entry as u32, vec![0]),
            (NoteType::AbiVersion as u32, vec![version::CURRENT.to_bits().into()]),
            (NoteType::ExecutionModes as u32, vec![modes]),
            (NoteType::Requires as u32, vec![1, 2]),
            (NoteType::Wants as u32, vec![0x10]),
        ];
        Self { base: 0x1000, kind: 3, notes }
    }
}

impl Elf {
    fn bytes(&self) -> Vec<u8> {
        const HEADERS: usize = 5;
        const START: usize = 64 + HEADERS * 56;
        const RELOCATIONS: u64 = 24;
        let (code, data) = (self.base, self.base + 0x1000);
        let mut tail = vec![0u8; 0];
        let notes_at = START as u64;
        for (number, (kind, words)) in self.notes.iter().enumerate() {
            for field in [6, words.len() as u32 * 8, *kind] {
                tail.extend(field.to_le_bytes());
            }
            tail.extend(b"PVOPS\0\0\0");
            // The entry is told by its distance from the descriptor.
            let entry = code + 0x10;
            let first = (number == 0).then(|| entry.wrapping_sub(data + notes_at + 20));
            let words = first.map_or_else(|| words.clone(), |word| vec![word]);
            tail.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        let notes_bytes = tail.len() as u64;
        let relocations_at = notes_at + notes_bytes;
        tail.extend([data + 8, 8, code].iter().flat_map(|word| word.to_le_bytes()));
        let dynamic_at = relocations_at + RELOCATIONS;
        let dynamic = [7, data + relocations_at, 8, RELOCATIONS, 9, 24, 0, 0];
        tail.extend(dynamic.iter().flat_map(|word| word.to_le_bytes()));
        let bytes = (START + tail.len()) as u64;

        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(self.kind.to_le_bytes());
        file.extend(62u16.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend([code, 64, 0].iter().flat_map(|word: &u64| word.to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, HEADERS as u16, 64, 0, 0].iter().flat_map(|half: &u16| half.to_le_bytes()));
        // Kind, rights (4 read, 2 write, 1 execute), offset, address, bytes in file and memory.
        let headers: [(u32, u32, u64, u64, u64, u64); HEADERS] = [
            (1, 5, 0, code, 64, 64),
            (1, 4, 0, data, bytes, bytes),
            (1, 6, 0, data + 0x1000, 64, 0x2100),
            (4, 4, notes_at, data + notes_at, notes_bytes, notes_bytes),
            (2, 4, dynamic_at, data + dynamic_at, 64, 64),
        ];
        for (kind, rights, offset, virt, in_file, in_memory) in headers {
            file.extend(kind.to_le_bytes());
            file.extend(rights.to_le_bytes());
            let words = [offset, virt, virt, in_file, in_memory, 4];
            file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        file.extend(tail);
        file
    }
}
