//! The debug information of the hypervisor's resident instructions: which functions and lines each comes from.

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use addr2line::{Context, Frame};
use iced_x86::Instruction;

use super::image::Image;
use crate::failure::{Failure, Kind};

/// Debug information in memory.
pub type Reader<'elf> = EndianSlice<'elf, LittleEndian>;

/// Has `look` see each instruction of resident code with its frames, from the innermost inlined function outwards.
pub fn each_instruction(
    image: &Image<'_>,
    mut look: impl FnMut(&Instruction, &[Frame<'_, Reader<'_>>]),
) -> Result<(), Failure> {
    let refuse = |error| Failure::new(Kind::File, format!("debug information: {error}"));
    let dwarf = Dwarf::load(|id: SectionId| {
        let section = image.file.section_header_by_name(id.name()).ok().flatten();
        let data = section.and_then(|section| image.file.section_data(&section).ok());
        Ok(EndianSlice::new(data.map_or(&[], |(bytes, _)| bytes), LittleEndian))
    });
    let context = Context::from_dwarf(dwarf.map_err(refuse)?).map_err(refuse)?;
    for instruction in image.instructions(".text") {
        let mut found = context.find_frames(instruction.ip()).skip_all_loads().map_err(refuse)?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next().map_err(refuse)? {
            frames.push(frame);
        }
        look(&instruction, &frames);
    }
    Ok(())
}
