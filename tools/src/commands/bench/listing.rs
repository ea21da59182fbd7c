//! `--trace`: the instructions of one operation, in order, under the names of the functions that they belong to.

use std::process::ExitCode;

use elf::ElfBytes;
use elf::abi::SHF_EXECINSTR;
use elf::endian::LittleEndian;
use iced_x86::{Formatter, IntelFormatter};

use super::costs::{Costs, decode};
use super::record::{Span, Step};
use super::runs::Run;
use crate::debugger;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};

/// Names of code by its address.
struct Symbols {
    /// Start, end of the section, name; sorted.
    code: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Of all that ran.
    fn of(run: &Run) -> Result<Self, Failure> {
        let mut code = named_code(&run.booted, debugger::BOOTED_BASE)?;
        if let Some(guest) = &run.guest {
            code.extend(named_code(guest, debugger::GUEST_BASE)?);
        }
        code.sort();
        Ok(Self { code })
    }

    /// What `address` belongs to.
    fn name(&self, address: u64) -> &str {
        let index = self.code.partition_point(|(start, ..)| *start <= address);
        match index.checked_sub(1).map(|index| &self.code[index]) {
            Some((_, end, name)) if address < *end => name,
            // In none of the files: the one thing that guests call and did not bring.
            _ => "hypercall page",
        }
    }
}

fn named_code(elf: &ElfFile, base: u64) -> Result<Vec<(u64, u64, String)>, Failure> {
    let damaged = || Failure::new(Kind::File, format!("{} has no symbols", elf.path.display()));
    let slide = elf.slide(base).ok_or_else(damaged)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(&elf.bytes).map_err(|_| damaged())?;
    let sections = file.section_headers().ok_or_else(damaged)?;
    let (table, names) = file.symbol_table().ok().flatten().ok_or_else(damaged)?;
    let named = table.iter().filter_map(|symbol| {
        let section = sections.get(symbol.st_shndx.into()).ok()?;
        let name = names.get(symbol.st_name as usize).ok()?;
        let is_code = section.sh_flags & u64::from(SHF_EXECINSTR) != 0 && !name.is_empty();
        let end = section.sh_addr.wrapping_add(section.sh_size).wrapping_add(slide);
        let name = format!("{:#}", rustc_demangle::demangle(name));
        is_code.then_some((symbol.st_value.wrapping_add(slide), end, name))
    });
    Ok(named.collect())
}

/// Prints the operation as the first run has it that is not the bare machine's.
pub fn print(runs: &[Run], name: &str) -> Result<ExitCode, Failure> {
    let of = |run: &Run| run.figures.iter().find(|figure| figure.name == name).cloned();
    let runs = || runs.iter().rev();
    let found = runs().find_map(|run| Some((run, of(run)?)));
    let (run, figure) = found
        .ok_or_else(|| Failure::new(Kind::Usage, format!("{name}: no operation has exactly this name")))?;
    let sequence = run.sequences.get(&figure.mark);
    let part = sequence
        .and_then(|sequence| sequence.part(figure.span, run.guest.is_some()))
        .ok_or_else(|| Failure::new(Kind::CheckFailed, format!("{name} was not recorded")))?;
    let symbols = Symbols::of(run)?;
    let mut shown = "";
    for (index, step) in part.iter().enumerate() {
        let function = symbols.name(step.address);
        if function != shown {
            println!("{function}:");
            shown = function;
        }
        println!("{:>5}  {}", index + 1, text(step));
        if step.interrupted {
            println!("       -- exception or interrupt");
        }
    }
    let costs = Costs::of(&part, figure.span == Span::Interrupt);
    println!("{} instructions recorded, {} counted; {}", part.len(), figure.median, costs.words());
    Ok(ExitCode::SUCCESS)
}

fn text(step: &Step) -> String {
    let mut text = format!("{:016x}  ", step.address);
    IntelFormatter::new().format(&decode(step), &mut text);
    if step.device {
        text.push_str("  ; device");
    }
    text
}
