//! Resident code by function, what is inlined included: where the bytes are, and what is there more than once.
//!
//! A symbol's size says little of a program whose functions are mostly inlined. Here each counts with all it became,
//! wherever that is; so a function's bytes are also its callers', and the numbers have no sum.

use std::collections::{BTreeMap, BTreeSet};

use addr2line::Frame;
use serde::Serialize;

use super::image::Image;
use super::lines::{self, Reader};
use crate::failure::Failure;

/// A function and its bytes of code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Name, without the paths of modules.
    pub name: String,
    /// Bytes, all places together.
    pub text: u64,
    /// In how many places its code is: once on its own, and once for each call that it is inlined at.
    pub places: usize,
}

/// All that have lines, the largest first.
pub fn of(image: &Image<'_>) -> Result<Vec<Function>, Failure> {
    let mut functions: BTreeMap<String, (u64, BTreeSet<Vec<String>>)> = BTreeMap::new();
    lines::each_instruction(image, |instruction, frames| {
        let names: Vec<String> = frames.iter().filter_map(name).collect();
        // A function may be inlined into one of the same name, as generic ones are: then it counts once.
        let mut seen = BTreeSet::new();
        for (depth, name) in names.iter().enumerate().filter(|(_, name)| seen.insert((*name).clone())) {
            let (text, places) = functions.entry(name.clone()).or_default();
            *text += instruction.len() as u64;
            places.insert(calls(&frames[depth + 1..]));
        }
    })?;
    let mut functions: Vec<Function> = functions
        .into_iter()
        .map(|(name, (text, places))| Function { name, text, places: places.len() })
        .collect();
    functions.sort_by(|one, other| other.text.cmp(&one.text).then_with(|| one.name.cmp(&other.name)));
    Ok(functions)
}

/// The calls through which a function is inlined, from the innermost outwards.
fn calls(callers: &[Frame<'_, Reader<'_>>]) -> Vec<String> {
    let call = |caller: &Frame<'_, Reader<'_>>| {
        let place = caller.location.as_ref().map(|at| (at.file, at.line, at.column));
        format!("{:?} {place:?}", name(caller))
    };
    callers.iter().map(call).collect()
}

fn name(frame: &Frame<'_, Reader<'_>>) -> Option<String> {
    Some(short(&frame.function.as_ref()?.demangle().ok()?))
}

/// A demangled name with of each path the last two parts: the function and its type or module.
fn short(name: &str) -> String {
    let is_of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let parts = name.split_inclusive(|letter| !is_of_path(letter));
    let shorten = |part: &str| {
        let is_between = |place: usize| place > 0 && part[place + 2..].starts_with(char::is_alphanumeric);
        let mut separators = part.rmatch_indices("::").filter(|(place, _)| is_between(*place));
        let start = separators.nth(1).map_or(0, |(place, separator)| place + separator.len());
        part[start..].to_owned()
    };
    parts.map(shorten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths_only() {
        assert_eq!(short("hypervisor::domain::turn::choose"), "turn::choose");
        assert_eq!(
            short("<hypervisor::mmu::shadow::Shadow<hypervisor::arch::x86_64::paging::PoolTables>>::fill"),
            "<shadow::Shadow<paging::PoolTables>>::fill"
        );
        assert_eq!(short("<a::b::C<d::e::F>>::fill::<g::h::i::J>"), "<b::C<e::F>>::fill::<i::J>");
        assert_eq!(short("<u64>::wrapping_sub"), "<u64>::wrapping_sub");
        assert_eq!(short("memcpy"), "memcpy");
    }
}
