//! Resident code by module: whose source each instruction comes from, inlined or not.
//!
//! By the line table and not by symbols: most functions are inlined somewhere, so that symbols would credit their
//! callers with them. What the compiler made of the standard library counts for the function that uses it.

use iced_x86::{Code, Mnemonic};
use serde::Serialize;

use super::image::Image;
use super::lines;
use crate::failure::Failure;

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
    let mut modules: Vec<Module> = Vec::new();
    lines::each_instruction(image, |instruction, frames| {
        let is_padding = instruction.mnemonic() == Mnemonic::Nop || instruction.code() == Code::Int3;
        let files = frames.iter().filter_map(|frame| frame.location.as_ref()?.file);
        let name = match () {
            () if is_padding => PADDING,
            () if frames.is_empty() => ASSEMBLY,
            () => files.filter_map(module).next().unwrap_or(LIBRARIES),
        };
        let text = instruction.len() as u64;
        match modules.iter_mut().find(|module| module.name == name) {
            Some(module) => module.text += text,
            None => modules.push(Module { name: name.to_owned(), text }),
        }
    })?;
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
