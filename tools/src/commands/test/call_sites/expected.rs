//! What the sites of each operation must hold, written as bytes in hexadecimal; `{symbol}` stands for the four bytes of
//! a distance that leads to that symbol of the kernel, `..` for padding that is never executed.

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};

/// From an operation to what its sites hold.
pub type Sites = fn(&str) -> &'static str;

/// Every operation that has sites.
pub const OPERATIONS: [&str; 14] = [
    "irq.disable",
    "irq.enable",
    "irq.save_and_disable",
    "irq.restore",
    "irq.are_enabled",
    "irq.enable_and_wait",
    "cpu.current",
    "cpu.block",
    "cpu.spin_hint",
    "cpu.user_access_begin",
    "cpu.user_access_end",
    "mmu.load_root",
    "mmu.flush_page",
    "time.now_ns",
];

/// On a CPU with SMAP and without PCIDs, as QEMU's is.
pub const NATIVE: Sites = |operation| match operation {
    // cli
    "irq.disable" => "fa 0f1f840000000000",
    // sti; jmp to the end
    "irq.enable" => "fb eb16 ..",
    // pushfq; pop r11; cli
    "irq.save_and_disable" => "489c 415b fa",
    // push r11; popfq
    "irq.restore" => "41fff3 489d",
    // pushfq; pop rax
    "irq.are_enabled" => "9c 58 660f1f440000",
    // sti; hlt
    "irq.enable_and_wait" => "fb f4 0f1f00",
    // mov eax, gs:[0x88]
    "cpu.current" => "658b042588000000",
    // mov rax, gs:[0x80]
    "cpu.block" => "65488b042580000000",
    // pause
    "cpu.spin_hint" => "f390 0f1f00",
    // stac
    "cpu.user_access_begin" => "0f01cb 6690",
    // clac
    "cpu.user_access_end" => "0f01ca 6690",
    // mov cr3, rdi
    "mmu.load_root" => "0f22df 6690",
    // invlpg [rdi]
    "mmu.flush_page" => "0f013f 6690",
    // lfence; rdtsc; shl rdx, 32; or rax, rdx; sub rax, [rip + start]; mul qword ptr [rip + scale]; shrd rax, rdx, 32
    "time.now_ns" => {
        "0faee8 0f31 48c1e220 4809d0 482b05{pvops_native_clock_start} 48f725{pvops_native_clock_scale} 480facd020"
    }
    _ => "",
};

/// In a guest of the hypervisor.
pub const GUEST: Sites = |operation| match operation {
    // mov byte ptr gs:[6], 0
    "irq.disable" => "65c604250600000000",
    // mov byte ptr gs:[6], 1; cmp byte ptr gs:[7], 0; je to the end; call
    "irq.enable" => "65c604250600000001 65803c250700000000 7405 e8{hyper::stubs::deliver}",
    "irq.save_and_disable" => "e8{hyper::stubs::save_and_disable}",
    "irq.restore" => "e8{hyper::stubs::restore}",
    // mov eax, gs:[4]
    "irq.are_enabled" => "658b042504000000",
    "irq.enable_and_wait" => "e8{hyper::stubs::block}",
    "cpu.current" => "658b042588000000",
    "cpu.block" => "65488b042580000000",
    "cpu.spin_hint" => "f390 0f1f00",
    // Nothing.
    "cpu.user_access_begin" | "cpu.user_access_end" => "0f1f440000",
    "mmu.load_root" => "e8{hyper::stubs::load_root}",
    "mmu.flush_page" => "e8{hyper::stubs::flush_page}",
    // call; jmp to the end
    "time.now_ns" => "e8{hyper::stubs::now_ns} eb18 ..",
    _ => "",
};

/// As the compiler made them, whatever long NOPs the assembler chose.
pub const UNPATCHED: Sites = |operation| match operation {
    "irq.disable" => "e8{patch::thunks::irq_disable} ..",
    "irq.enable" => "e8{patch::thunks::irq_enable} ..",
    "irq.save_and_disable" => "e8{patch::thunks::irq_save_and_disable}",
    "irq.restore" => "e8{patch::thunks::irq_restore}",
    "irq.are_enabled" => "e8{patch::thunks::irq_are_enabled} ..",
    "irq.enable_and_wait" => "e8{patch::thunks::irq_enable_and_wait}",
    "cpu.current" => "e8{patch::thunks::cpu_current} ..",
    "cpu.block" => "e8{patch::thunks::cpu_block} ..",
    "cpu.spin_hint" => "e8{patch::thunks::cpu_spin_hint}",
    "cpu.user_access_begin" => "e8{patch::thunks::cpu_user_access_begin}",
    "cpu.user_access_end" => "e8{patch::thunks::cpu_user_access_end}",
    "mmu.load_root" => "e8{patch::thunks::mmu_load_root}",
    "mmu.flush_page" => "e8{patch::thunks::mmu_flush_page}",
    "time.now_ns" => "e8{patch::thunks::time_now_ns} ..",
    _ => "",
};

/// What is wrong with a line `<operation> <offset in the image> <bytes>` of the kernel, if anything.
pub fn mismatch(kernel: &ElfFile, line: &str, expected: Sites) -> Result<Option<String>, Failure> {
    let unreadable = || Failure::new(Kind::CheckFailed, format!("not a site: {line}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let [operation, offset, bytes] = words[..] else { return Err(unreadable()) };
    let offset = u64::from_str_radix(offset, 16).map_err(|_| unreadable())?;
    let pattern = expected(operation);
    let found = if pattern.is_empty() { false } else { matches(kernel, offset, bytes, pattern)? };
    Ok((!found).then(|| format!("{line}: expected {pattern}")))
}

/// Whether the digits of a site at `offset` are what the pattern says.
fn matches(kernel: &ElfFile, offset: u64, digits: &str, pattern: &str) -> Result<bool, Failure> {
    let mut rest = digits;
    let mut pattern = pattern;
    while let Some(next) = pattern.chars().next() {
        if let Some(after) = pattern.strip_prefix(' ') {
            pattern = after;
        } else if pattern == ".." {
            return Ok(!rest.is_empty());
        } else if let Some((symbol, after)) = pattern.strip_prefix('{').and_then(|text| text.split_once('}'))
        {
            let Some(distance) = rest.get(..8).and_then(distance) else { return Ok(false) };
            rest = &rest[8..];
            let end = offset + ((digits.len() - rest.len()) / 2) as u64;
            if end.wrapping_add_signed(distance.into()) != address_of(kernel, symbol)? {
                return Ok(false);
            }
            pattern = after;
        } else {
            let Some(after) = rest.strip_prefix(next) else { return Ok(false) };
            rest = after;
            pattern = &pattern[1..];
        }
    }
    Ok(rest.is_empty())
}

/// A signed number from eight digits, the lowest byte first.
fn distance(digits: &str) -> Option<i32> {
    u32::from_str_radix(digits, 16).ok().map(|number| number.swap_bytes() as i32)
}

/// Where in the image a symbol is: one of C by its name, a path of this workspace by the end of its mangled name.
fn address_of(kernel: &ElfFile, path: &str) -> Result<u64, Failure> {
    let missing = || Failure::new(Kind::CheckFailed, format!("the kernel has no symbol {path}"));
    let file = ElfBytes::<LittleEndian>::minimal_parse(&kernel.bytes).map_err(|_| missing())?;
    let (symbols, names) = file.symbol_table().ok().flatten().ok_or_else(missing)?;
    let is_wanted = |name: &str| match path.contains("::") {
        false => name == path,
        true => {
            name.ends_with(&path.split("::").map(|part| format!("{}{part}", part.len())).collect::<String>())
        }
    };
    let wanted = symbols.iter().find(|symbol| names.get(symbol.st_name as usize).is_ok_and(is_wanted));
    let first = file.segments().and_then(|segments| {
        let loads = segments.iter().filter(|segment| segment.p_type == elf::abi::PT_LOAD);
        loads.map(|segment| segment.p_vaddr & !0xfff).min()
    });
    Ok(wanted.ok_or_else(missing)?.st_value - first.ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(digits: &str, pattern: &str) -> bool {
        let none = ElfFile { path: "none".into(), bytes: Vec::new() };
        matches(&none, 0, digits, pattern).unwrap()
    }

    #[test]
    fn every_byte_counts() {
        assert!(is_match("fa0f1f00", "fa 0f1f00"));
        assert!(!is_match("fa0f1f01", "fa 0f1f00"));
        assert!(!is_match("fa0f1f", "fa 0f1f00"));
        assert!(!is_match("fa0f1f0000", "fa 0f1f00"));
        assert!(is_match("ebccdd", "eb .."));
        assert!(!is_match("eb", "eb .."));
    }

    #[test]
    fn distances_are_signed_and_little_endian() {
        assert_eq!(distance("01000000"), Some(1));
        assert_eq!(distance("feffffff"), Some(-2));
    }

    #[test]
    fn every_operation_is_expected_everywhere() {
        for sites in [NATIVE, GUEST, UNPATCHED] {
            assert!(OPERATIONS.iter().all(|operation| !sites(operation).is_empty()));
        }
    }
}
