//! The domain that was built: what its boot tables map, and what `StartInfo` says.

use super::super::builder::{Request, Start, build};
use super::*;
use crate::front::frames::SELECTORS;
use crate::mmu::memory::{GuestTable, GuestTables, HostPage};
use crate::mmu::walk::{Access, Path, error, walk};
use crate::mmu::{HYPERVISOR_LAST, HYPERVISOR_START};
use core::mem::offset_of;
use pvops_abi::call::{CALL_STUB_OFFSET, IRET_STUB_OFFSET};
use pvops_abi::layout::start_info::{START_INFO_MAGIC, START_INFO_VERSION, implementation};
use pvops_abi::layout::{MemoryKind, MemoryRegion, StartInfo};
use std::cell::RefCell;

const FETCH: Access = Access::from_error_code(error::FETCH, false);
const USER_READ: Access = Access::from_error_code(0, true);

/// A domain's memory after it was built.
pub(super) struct Domain {
    memory: RefCell<Vec<u8>>,
    pub(super) start: Start,
}

/// A page of that memory.
#[derive(Clone, Copy)]
pub(super) struct PageAt<'a>(&'a Domain, u64);

impl GuestTable for PageAt<'_> {
    fn load(self, index: usize) -> u64 {
        self.0.load(self.1 + index as u64 * 8)
    }

    fn set_bits(self, index: usize, expected: u64, bits: u64) -> bool {
        let at = self.1 as usize + index * 8;
        self.0.memory.borrow_mut()[at..][..8].copy_from_slice(&(expected | bits).to_le_bytes());
        true
    }
}

impl GuestTables for Domain {
    type Table<'a> = PageAt<'a>;

    fn table(&self, address: u64) -> Option<PageAt<'_>> {
        (address + 4096 <= self.memory.borrow().len() as u64).then_some(PageAt(self, address))
    }

    fn to_host(&self, address: u64, bytes: u64) -> Option<HostPage> {
        (address + bytes <= self.memory.borrow().len() as u64).then(|| HostPage::memory(address))
    }
}

impl Domain {
    pub(super) fn build(kernel: &Kernel<'_>, bytes: usize, command_line: &str) -> Result<Self, Refusal> {
        let mut memory = vec![0; bytes];
        let request = Request { command_line, vcpu_count: 3, tsc_hz: 2_345_678_901, devices: &[] };
        let start = build(&mut memory, kernel, request)?;
        Ok(Self { memory: RefCell::new(memory), start })
    }

    /// The word at a guest-physical address.
    fn load(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.memory.borrow()[address as usize..][..8].try_into().unwrap())
    }

    /// Guest-physical address behind `address`, if the access is allowed.
    fn access(&self, address: u64, access: Access) -> Option<u64> {
        let (_, found) = walk(self, self.start.root, address, access, &mut Path::default()).ok()?;
        Some(found.page() | address & (found.bytes() - 1))
    }

    /// The rights of the guest kernel, as `ls` would show them; no user mode anywhere.
    fn rights(&self, address: u64) -> &'static str {
        assert_eq!(self.access(address, USER_READ), None, "boot tables are the kernel's");
        let write = self.access(address, Access::KERNEL_WRITE).is_some();
        let fetch = self.access(address, FETCH).is_some();
        match (self.access(address, Access::KERNEL_READ).is_some(), write, fetch) {
            (false, false, false) => "---",
            (true, false, false) => "r--",
            (true, true, false) => "rw-",
            (true, false, true) => "r-x",
            rights => panic!("{address:#x}: {rights:?}"),
        }
    }

    /// The word at a virtual address.
    fn word(&self, address: u64) -> u64 {
        self.load(self.access(address, Access::KERNEL_READ).expect("mapped"))
    }

    fn half(&self, address: u64) -> u32 {
        (self.word(address & !7) >> (address % 8 * 8)) as u32
    }

    pub(super) fn bytes(&self, phys: u64, length: u64) -> Vec<u8> {
        self.memory.borrow()[phys as usize..][..length as usize].to_vec()
    }

    /// What holds for every domain that was accepted: entry, stack and `StartInfo` are usable, and no page of the
    /// image may be both written and executed.
    pub(super) fn check(&self, image_bytes: u64) {
        assert_eq!(self.rights(self.start.rip), "r-x");
        assert_eq!(self.rights(self.start.rsp), "rw-");
        assert_eq!(self.rights(self.start.start_info), "rw-");
        let image = self.word(self.start.start_info + offset_of!(StartInfo, kernel_virt) as u64);
        for page in (0..image_bytes).step_by(PAGE) {
            self.rights(image + page);
        }
    }
}

fn good(command_line: &str) -> Domain {
    let file = Recipe::good().bytes();
    Domain::build(&Kernel::parse(&file).unwrap(), 10 << 20, command_line).unwrap()
}

/// A field of `StartInfo`.
macro_rules! field {
    ($domain:ident, $get:ident, $field:ident) => {
        $domain.$get($domain.start.start_info + offset_of!(StartInfo, $field) as u64)
    };
}

// covers: BOOT-005, BOOT-006
#[test]
fn segments_have_their_rights_and_contents_and_nothing_else_is_mapped() {
    let domain = good("");
    let virt = field!(domain, word, kernel_virt);
    assert_eq!(domain.start.rip, virt + ENTRY - TEXT);
    let expected = ["r-x", "r--", "rw-", "rw-", "rw-", "rw-", "---"];
    for (page, rights) in expected.into_iter().enumerate() {
        assert_eq!(domain.rights(virt + (page * PAGE) as u64), rights, "page {page}");
    }
    assert_eq!(domain.rights(virt - 1), "---");
    assert_eq!(domain.rights(0), "---");
    assert_eq!(domain.rights(HYPERVISOR_START), "---");
    assert_eq!(domain.word(domain.start.rip), 0x9090_9090_9090_9090);
    let data = virt + DATA - TEXT;
    assert_eq!(domain.word(data + 0x400), u32::from_le_bytes(*b"data").into());
    assert_eq!(domain.word(data + 0x1000), 0);
}

// covers: NOTE-004, NOTE-007
#[test]
fn relocations_follow_the_image() {
    let domain = good("");
    let virt = field!(domain, word, kernel_virt);
    let slide = virt - TEXT;
    assert_eq!(domain.word(slide + DATA + 0x300), slide + TEXT + 0x40);
    assert_eq!(domain.word(slide + CONSTANTS + 0xf00), slide + DATA);
}

#[test]
fn a_fixed_kernel_stays_where_it_is_linked() {
    for base in [0, 0x20_0000, 0x7fff_f000_0000, 0xffff_8800_0000_0000, 0xffff_ffff_8000_0000] {
        let file = Recipe::fixed(base).bytes();
        let kernel = Kernel::parse(&file).unwrap();
        let domain = Domain::build(&kernel, 8 << 20, "").unwrap();
        assert_eq!(domain.start.rip, base + ENTRY);
        assert_eq!(field!(domain, word, kernel_virt), base + TEXT);
        domain.check(kernel.image_bytes);
    }
}

// covers: NOTE-009
#[test]
fn a_fixed_kernel_is_loaded_where_its_note_says_or_refused() {
    let load_at = |address: u64| {
        let mut recipe = Recipe::fixed(0x20_0000);
        recipe.notes.push((NoteType::LoadAddress as u32, vec![address]));
        let file = recipe.bytes();
        Domain::build(&Kernel::parse(&file).unwrap(), 8 << 20, "")
    };
    for address in [0x2000, 0x20_1000, 0x40_0000] {
        let domain = load_at(address).unwrap();
        assert_eq!(field!(domain, word, kernel_phys), address);
        assert_eq!(domain.bytes(address + DATA - TEXT + 0x400, 4), b"data");
    }
    for address in [0, 0x1000, 0x20_0800, 8 << 20, u64::MAX] {
        assert!(load_at(address).is_err(), "{address:#x}");
    }
}

#[test]
fn the_stack_has_unmapped_pages_around_it() {
    let domain = good("");
    let (base, bytes) = (field!(domain, word, boot_stack_base), field!(domain, word, boot_stack_bytes));
    assert_eq!(domain.start.rsp, base + bytes - 8);
    assert_eq!(domain.start.rsp % 16, 8, "as after a call");
    for offset in (0..bytes).step_by(PAGE) {
        assert_eq!(domain.rights(base + offset), "rw-");
    }
    assert_eq!(domain.rights(base - 1), "---");
    assert_eq!(domain.rights(base + bytes), "---");
}

#[test]
fn the_hypercall_page_is_code_with_two_stubs() {
    let domain = good("");
    let virt = field!(domain, word, hypercall_page_virt);
    let phys = field!(domain, word, hypercall_page_phys);
    assert_eq!(domain.rights(virt), "r-x");
    assert_eq!(domain.access(virt, FETCH), Some(phys));
    let endbr64 = [0xf3, 0x0f, 0x1e, 0xfa];
    for stub in [CALL_STUB_OFFSET, IRET_STUB_OFFSET] {
        assert_eq!(domain.bytes(phys + stub, 4), endbr64);
    }
    assert_eq!(domain.bytes(phys + 128, 1), [0xcc], "the rest traps");
}

#[test]
fn the_physical_map_shows_all_memory_and_no_more() {
    let domain = good("");
    let map = field!(domain, word, physical_map);
    for phys in (0..10 << 20).step_by(if cfg!(miri) { 101 * PAGE } else { PAGE }) {
        assert_eq!(domain.access(map + phys, Access::KERNEL_WRITE), Some(phys));
        assert_eq!(domain.rights(map + phys), "rw-");
    }
    assert_eq!(domain.rights(map + (10 << 20)), "---");
    assert_eq!(domain.rights(map - 1), "---");
}

#[test]
fn start_info_says_what_was_built() {
    let domain = good("run=demo π");
    assert_eq!(field!(domain, word, magic), START_INFO_MAGIC);
    assert_eq!(field!(domain, half, size) as usize, size_of::<StartInfo>());
    assert_eq!(field!(domain, half, version), START_INFO_VERSION.into(), "and reserved is zero");
    assert_eq!(field!(domain, half, abi_version), version::CURRENT.to_bits());
    assert_eq!(field!(domain, half, implementation), implementation::PVOPS_HYPERVISOR);
    assert_eq!(field!(domain, half, execution_mode), ExecutionMode::Deprivileged as u32);
    assert_eq!(field!(domain, half, vcpu_count), 3);
    assert_eq!(field!(domain, word, tsc_hz), 2_345_678_901);
    assert_eq!((field!(domain, word, ramdisk), field!(domain, word, ramdisk_bytes)), (0, 0));
    assert_eq!(field!(domain, word, boot_root), domain.start.root);
    let selectors = field!(domain, word, selectors);
    let expected = [SELECTORS.kernel_cs, SELECTORS.kernel_ss, SELECTORS.user_cs, SELECTORS.user_ss];
    assert_eq!([0, 16, 32, 48].map(|shift| (selectors >> shift) as u16), expected);
    assert_eq!((SELECTORS.kernel_cs & 3, SELECTORS.user_cs & 3), (0, 3), "the virtual privilege");
    let line = field!(domain, half, command_line_bytes);
    assert_eq!(domain.bytes(field!(domain, word, command_line), line.into()), "run=demo π".as_bytes());
    assert_eq!(field!(domain, word, reserved_range_count), 1);
    let ranges = domain.start.start_info + offset_of!(StartInfo, reserved_ranges) as u64;
    assert_eq!((domain.word(ranges), domain.word(ranges + 8)), (HYPERVISOR_START, HYPERVISOR_LAST));
    let usable = domain.start.start_info + offset_of!(StartInfo, usable_range) as u64;
    assert_eq!((domain.word(usable), domain.word(usable + 8)), (0, u64::MAX));
    let kernel = field!(domain, word, kernel_virt);
    assert_eq!(domain.access(kernel, FETCH), Some(field!(domain, word, kernel_phys)));
    assert_eq!(field!(domain, word, kernel_bytes), 6 * PAGE as u64);
}

// covers: BOOT-003
#[test]
fn the_memory_map_is_sorted_without_gaps_and_covers_all_memory() {
    let domain = good("");
    let map = field!(domain, word, physical_map) + field!(domain, word, memory_map);
    let mut end = 0;
    let mut kinds = Vec::new();
    for number in 0..u64::from(field!(domain, half, memory_map_count)) {
        let region = map + number * size_of::<MemoryRegion>() as u64;
        let (start, bytes, kind) = (domain.word(region), domain.word(region + 8), domain.word(region + 16));
        assert_eq!(start, end);
        assert!(bytes != 0 && bytes.is_multiple_of(PAGE as u64));
        end = start + bytes;
        kinds.push((kind, start..end));
    }
    assert_eq!(end, 10 << 20);
    let kind_of = |phys: u64| kinds.iter().find(|(_, range)| range.contains(&phys)).unwrap().0;
    assert_eq!(kind_of(0), MemoryKind::Reserved as u64);
    assert_eq!(kind_of(field!(domain, word, kernel_phys)), MemoryKind::Kernel as u64);
    assert_eq!(kind_of(field!(domain, word, hypercall_page_phys)), MemoryKind::HypercallPage as u64);
    assert_eq!(kind_of(field!(domain, word, memory_map)), MemoryKind::StartInfo as u64);
    assert_eq!(kind_of(field!(domain, word, command_line)), MemoryKind::StartInfo as u64);
    assert_eq!(kind_of(domain.start.root), MemoryKind::BootReclaimable as u64);
    let stack = domain.access(domain.start.rsp, Access::KERNEL_READ).unwrap();
    assert_eq!(kind_of(stack), MemoryKind::BootReclaimable as u64);
    // What is called usable is not in use: not one byte of it was written.
    for (_, range) in kinds.iter().filter(|(kind, _)| *kind == MemoryKind::Usable as u64) {
        let bytes = range.end - range.start;
        assert!(domain.bytes(range.start, bytes) == vec![0; bytes as usize]);
    }
}
