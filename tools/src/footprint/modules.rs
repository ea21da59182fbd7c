//! Resident code by module: whose source each instruction comes from, inlined or not.
//!
//! By the line table and not by symbols: most functions are inlined somewhere, so that symbols would credit their
//! callers with them. What the compiler made of the standard library counts for the function that uses it.

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use iced_x86::{Code, Mnemonic};
use serde::Serialize;

use super::image::Image;
use crate::failure::{Failure, Kind};

/// A module and its bytes of code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Name.
    pub name: String,
    /// Bytes.
    pub text: u64,
}

/// Instructions without a line: assembly, which is the entry code.
const ASSEMBLY: &str = "entry code";
/// Filling between functions.
const PADDING: &str = "padding";
/// Of other crates, and called by functions that are not inlined.
const LIBRARIES: &str = "libraries";

/// All of them, the largest first.
pub fn of(image: &Image<'_>) -> Result<Vec<Module>, Failure> {
    let refuse = |error| Failure::new(Kind::File, format!("debug information: {error}"));
    let dwarf = Dwarf::load(|id: SectionId| {
        let section = image.file.section_header_by_name(id.name()).ok().flatten();
        let data = section.and_then(|section| image.file.section_data(&section).ok());
        Ok(EndianSlice::new(data.map_or(&[], |(bytes, _)| bytes), LittleEndian))
    });
    let context = Context::from_dwarf(dwarf.map_err(refuse)?).map_err(refuse)?;
    let mut modules: Vec<Module> = Vec::new();
    for instruction in image.instructions(".text") {
        let is_padding = instruction.mnemonic() == Mnemonic::Nop || instruction.code() == Code::Int3;
        let mut frames = context.find_frames(instruction.ip()).skip_all_loads().map_err(refuse)?;
        let mut name = if is_padding { PADDING } else { ASSEMBLY };
        // From the innermost inlined function outwards.
        while let Some(frame) = frames.next().map_err(refuse)?.filter(|_| !is_padding) {
            name = LIBRARIES;
            if let Some(own) = frame.location.and_then(|location| location.file).and_then(module) {
                name = own;
                break;
            }
        }
        let text = instruction.len() as u64;
        match modules.iter_mut().find(|module| module.name == name) {
            Some(module) => module.text += text,
            None => modules.push(Module { name: name.to_owned(), text }),
        }
    }
    modules.sort_by(|one, other| other.text.cmp(&one.text).then_with(|| one.name.cmp(&other.name)));
    Ok(modules)
}

/// The module of one of the hypervisor's own files.
fn module(file: &str) -> Option<&str> {
    let (_, inside) = file.rsplit_once("hypervisor/src/")?;
    let (module, rest) = inside.split_once('/')?;
    let is_console = module == "domain" && rest.starts_with("console/");
    Some(if is_console { "console" } else { module })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_modules() {
        assert_eq!(module("/somewhere/hypervisor/src/domain/console/menu.rs"), Some("console"));
        assert_eq!(module("hypervisor/src/domain/turn.rs"), Some("domain"));
        assert_eq!(module("hypervisor/src/arch/x86_64/console.rs"), Some("arch"));
        assert_eq!(module("/rustc/library/core/src/option.rs"), None);
        assert_eq!(module("hypervisor/src/lib.rs"), None, "what has lost its place");
    }
}
