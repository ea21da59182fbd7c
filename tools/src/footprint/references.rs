//! What resident code and data of the hypervisor refer to: nothing that is unmapped once a guest runs.
//!
//! Which code is boot's, the linker script decides by names. So one that resident code calls after all would be gone when
//! it is called, which no compiler notices.

use iced_x86::{Instruction, OpKind};

use super::image::Image;
use super::is_boot_only;

/// Where something refers to something: addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    pub from: u64,
    pub to: u64,
}

/// References from resident to boot-only parts.
pub fn to_boot(image: &Image<'_>) -> Vec<Reference> {
    between(image, false, true)
}

/// References from boot-only to resident parts: there are many, which shows that they would be found.
pub fn from_boot(image: &Image<'_>) -> Vec<Reference> {
    between(image, true, false)
}

fn between(image: &Image<'_>, from_boot: bool, to_boot: bool) -> Vec<Reference> {
    /// Pointers here are those of both: who loads one counts.
    const SHARED: &str = ".got";
    let is_of = |address: u64, boot: bool| {
        image.section(address).is_some_and(|section| is_boot_only(section.name) == boot)
    };
    let mut found = Vec::new();
    for section in image.sections.iter().filter(|section| is_boot_only(section.name) == from_boot) {
        for instruction in image.instructions(section.name).filter(|_| section.name.ends_with(".text")) {
            for to in targets(&instruction) {
                let pointed = image.pointers.iter().find(|(at, _)| *at == to).map(|(_, target)| *target);
                let through = pointed.filter(|_| image.section(to).is_some_and(|at| at.name == SHARED));
                let to = through.unwrap_or(to);
                if is_of(to, to_boot) {
                    found.push(Reference { from: instruction.ip(), to });
                }
            }
        }
    }
    let in_data = image.pointers.iter().filter(|(at, to)| {
        let holder = image.section(*at).filter(|section| section.name != SHARED);
        holder.is_some_and(|section| is_boot_only(section.name) == from_boot) && is_of(*to, to_boot)
    });
    found.extend(in_data.map(|&(from, to)| Reference { from, to }));
    found
}

/// What an instruction jumps to, calls, or names relative to itself.
fn targets(instruction: &Instruction) -> impl Iterator<Item = u64> {
    let is_near = (0..instruction.op_count()).any(|at| instruction.op_kind(at) == OpKind::NearBranch64);
    let branch = is_near.then(|| instruction.near_branch_target());
    let named = instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address());
    branch.into_iter().chain(named)
}
