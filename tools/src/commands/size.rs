//! `cargo pv size`: how much memory the hypervisor keeps, and how much it gives back after boot.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::bench::budgets::Budgets;
use crate::building::{self, Kernel};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::footprint::functions::{self, Function};
use crate::footprint::image::Image;
use crate::footprint::modules::{self, Module};
use crate::footprint::{Bytes, Each, Footprint};
use crate::workspace::Workspace;

/// Options of `cargo pv size`.
#[derive(Args)]
pub struct Arguments {
    /// Also list that many functions, the largest first, with what each became where it is inlined
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "40")]
    functions: Option<usize>,
    /// Also write the numbers here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All that is told, in the order of the JSON file.
#[derive(Serialize)]
struct Sizes {
    #[serde(flatten)]
    footprint: Footprint,
    modules: Vec<Module>,
    each: Each,
    /// None unless they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    functions: Vec<Function>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let elf = ElfFile::read(&building::kernel(workspace, Kernel::Hypervisor)?)?;
    let image = Image::of(&elf)?;
    let mut largest = arguments.functions.map_or(Ok(Vec::new()), |_| functions::of(&image))?;
    largest.truncate(arguments.functions.unwrap_or(0));
    let sizes = Sizes {
        footprint: Footprint::of(&elf)?,
        modules: modules::of(&image)?,
        each: Each::of(&image)?,
        functions: largest,
    };
    if let Some(path) = &arguments.json {
        fs::write(path, to_json(&sizes) + "\n").map_err(|error| Failure::file("write", path, &error))?;
    }
    print(&sizes);
    let most = Budgets::read(&workspace.budgets())?.footprint.code_must;
    let code = sizes.footprint.code();
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    println!("\nresident text + rodata: {code} bytes, {:.1} KiB of {:.0} KiB", kib(code), kib(most));
    Ok(ExitCode::SUCCESS)
}

fn to_json(sizes: &Sizes) -> String {
    // Plain numbers and fixed keys: there is nothing that could fail.
    serde_json::to_string_pretty(sizes).unwrap_or_default()
}

fn print(sizes: &Sizes) {
    println!("bytes              text    rodata      data       bss");
    print_row("resident", &sizes.footprint.resident);
    print_row("given back", &sizes.footprint.boot_only);
    println!("\nresident text by module");
    for Module { name, text } in &sizes.modules {
        println!("{name:<15} {text:>7}");
    }
    let Each { vcpu, vcpu_registers, domain, cpu, cpu_stacks } = sizes.each;
    println!("\ndata for each      bytes  and besides");
    println!("{:<15} {vcpu:>8}  {vcpu_registers} for extended registers", "vCPU");
    println!(
        "{:<15} {domain:>8}  its memory, and a 32nd of that for shadow tables, at least 4 MiB",
        "domain"
    );
    println!("{:<15} {cpu:>8}  {cpu_stacks} of stacks", "CPU");
    print_functions(&sizes.functions);
}

fn print_functions(functions: &[Function]) {
    if !functions.is_empty() {
        println!(
            "\nbytes  places  function, with all that is inlined there: parts of others are not taken off"
        );
    }
    for Function { name, text, places } in functions {
        println!("{text:>5}  {places:>6}  {name}");
    }
}

fn print_row(title: &str, bytes: &Bytes) {
    println!("{title:<15} {:>7}  {:>8}  {:>8}  {:>8}", bytes.text, bytes.rodata, bytes.data, bytes.bss);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_keys() {
        let each = Each { vcpu: 1, vcpu_registers: 2, domain: 3, cpu: 4, cpu_stacks: 5 };
        let modules = vec![Module { name: "front".to_owned(), text: 7 }];
        let functions = vec![Function { name: "turn::choose".to_owned(), text: 9, places: 2 }];
        let text = to_json(&Sizes { footprint: Footprint::default(), modules, each, functions });
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for part in ["resident", "boot_only"] {
            for key in ["text", "rodata", "data", "bss"] {
                assert_eq!(json[part][key], 0);
            }
        }
        assert_eq!(json["modules"][0]["name"], "front");
        assert_eq!(json["modules"][0]["text"], 7);
        assert_eq!(json["each"]["vcpu"], 1);
        assert_eq!(json["functions"][0]["places"], 2);
    }
}
