//! The hypervisor's footprint: it stays within its budget, and what was given back is not missed.

use std::time::Duration;

use super::case::{Case, Context, ensure};
use crate::commands::bench::budgets::Budgets;
use crate::failure::Failure;
use crate::footprint::image::Image;
use crate::footprint::references::{self, Reference};
use crate::footprint::{Each, Footprint};

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::boot("footprint: code, constants and data of a vCPU are within their budgets", budgets),
        Case::boot("footprint: nothing resident refers to what was given back", references),
    ]
}

fn budgets(context: &Context, _: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let budget = Budgets::read(&context.workspace.budgets())?.footprint;
    let code = Footprint::of(&kernels.hypervisor)?.code();
    ensure(
        code <= budget.code_must,
        format_args!(
            "{code} bytes of resident text and rodata, {} more than the {} of bench/budgets.toml",
            code.saturating_sub(budget.code_must),
            budget.code_must
        ),
    )?;
    let vcpu = Each::of(&Image::of(&kernels.hypervisor)?)?.vcpu;
    let over = vcpu.saturating_sub(budget.vcpu_must);
    ensure(over == 0, format_args!("{vcpu} bytes of data for each vCPU, {over} over the budget"))
}

fn references(context: &Context, _: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let image = Image::of(&kernels.hypervisor)?;
    ensure(references::from_boot(&image).len() > 100, "boot does not seem to use anything")?;
    let wrong: Vec<String> = references::to_boot(&image)
        .iter()
        .map(|Reference { from, to }| format!("{from:#x} refers to {to:#x}"))
        .collect();
    ensure(wrong.is_empty(), format_args!("boot-only, but used later:\n{}", wrong.join("\n")))
}
