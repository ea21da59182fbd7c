//! `spec/pvops.h`: the ABI in C.
//!
//! What `cbindgen` is given is not the crate itself but the ABI as it was read from the crate ([`Abi`]), in plain Rust:
//! it expands no macros without a nightly compiler, evaluates no constant expressions, and knows nothing of
//! atomics. The assertions at the end, and names that are strings, are beyond it and added here.

use std::fmt::Write as _;
use std::fs;

use cbindgen::{Braces, Builder, Config, DocumentationStyle, Language, SortKey, Style};

use super::{Abi, FieldType, Value, snake_case, upper_case};
use crate::failure::{Failure, Kind};

const BEFORE: &str = "\
// The pvops ABI: what guests and hypervisors share. C11 or C++17, freestanding.
//
// Generated from the crate pvops-abi by `cargo pv header`; do not edit. The specification is in this folder.
// Fields marked there as written by both sides are accessed by atomic operations of their size.
#ifndef PVOPS_H
#define PVOPS_H";

const MACROS: &str = "\
// Alignment beyond what the fields ask for.
#define PVOPS_ALIGNED(bytes) __attribute__((aligned(bytes)))";

/// The header's text.
///
/// # Errors
/// `cbindgen` does not understand what it is given.
pub fn generate(abi: &Abi) -> Result<String, Failure> {
    let failed = |what: String| Failure::new(Kind::CheckFailed, format!("pvops.h: {what}"));
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let source = folder.path().join("abi.rs");
    fs::write(&source, rust(abi)).map_err(|error| Failure::file("write", &source, &error))?;
    let bindings = Builder::new().with_config(config(abi)).with_src(&source).generate();
    let bindings = bindings.map_err(|error| failed(error.to_string()))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    text.push(b'\n');
    String::from_utf8(text).map_err(|error| failed(error.to_string()))
}

fn config(abi: &Abi) -> Config {
    let mut config = Config {
        language: Language::C,
        header: Some(BEFORE.into()),
        trailer: Some(assertions(abi)),
        after_includes: Some(format!("\n{}\n\n{MACROS}", strings(abi))),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        style: Style::Tag,
        braces: Braces::SameLine,
        line_length: 118,
        tab_width: 4,
        documentation_style: DocumentationStyle::C99,
        cpp_compat: false,
        ..Config::default()
    };
    config.constant.sort_by = Some(SortKey::None);
    config.layout.aligned_n = Some("PVOPS_ALIGNED".into());
    // Nothing refers to what is in the list, so cbindgen would leave it out.
    let enumerations = abi.enumerations.iter().map(|item| c_name(&item.name));
    let structures = abi.structures.iter().map(|item| c_name(&item.name));
    config.export.include = enumerations.chain(structures).chain(["pvops_call".into()]).collect();
    config
}

/// `StartInfo` → `pvops_start_info`; sets of flags lose that word.
fn c_name(name: &str) -> String {
    format!("pvops_{}", snake_case(name.strip_suffix("Flags").unwrap_or(name)))
}

/// Names of members and constants.
fn c_constant(group: &str, name: &str) -> String {
    format!("{}_{name}", c_name(group).to_ascii_uppercase())
}

/// The ABI in the Rust that cbindgen understands.
fn rust(abi: &Abi) -> String {
    let mut out = String::new();
    for constant in &abi.constants {
        if let Value::Number(number) = constant.value {
            comment(&mut out, abi, "", &constant.docs);
            _ = writeln!(out, "pub const PVOPS_{}: u64 = {number};", constant.name);
        }
    }
    for enumeration in &abi.enumerations {
        comment(&mut out, abi, "", &enumeration.docs);
        _ = writeln!(out, "#[repr(C)] pub enum {} {{", c_name(&enumeration.name));
        for member in &enumeration.members {
            comment(&mut out, abi, "    ", &member.docs);
            let name = c_constant(&enumeration.name, &member.name);
            _ = writeln!(out, "    {name} = {},", member.value);
        }
        out.push_str("}\n");
    }
    out.push_str("/// What `rax` holds at a call: extension << 16 | function.\n");
    out.push_str("#[repr(C)] pub enum pvops_call {\n");
    for call in &abi.calls {
        comment(&mut out, abi, "    ", &call.docs);
        let name = c_constant("Call", &format!("{}_{}", call.extension, call.function));
        _ = writeln!(out, "    {name} = ({} << 16) | {},", call.number >> 16, call.number & 0xffff);
    }
    out.push_str("}\n");
    for structure in &abi.structures {
        comment(&mut out, abi, "", &structure.docs);
        let alignment = structure.alignment.map_or(String::new(), |bytes| format!(", align({bytes})"));
        _ = writeln!(out, "#[repr(C{alignment})] pub struct {} {{", c_name(&structure.name));
        for field in &structure.fields {
            comment(&mut out, abi, "    ", &field.docs);
            _ = writeln!(out, "    pub {}: {},", field.name, rust_type(&field.kind));
        }
        out.push_str("}\n");
    }
    out
}

fn rust_type(kind: &FieldType) -> String {
    match kind {
        FieldType::Integer(name) => (*name).to_owned(),
        FieldType::Array(element, count) => format!("[{}; {count}]", rust_type(element)),
        FieldType::Structure(name) => c_name(name),
    }
}

fn comment(out: &mut String, abi: &Abi, indent: &str, docs: &[String]) {
    for line in docs {
        _ = writeln!(out, "{indent}/// {}", with_c_names(abi, line));
    }
}

/// A line of a comment with links to Rust's names replaced by C's names.
fn with_c_names(abi: &Abi, line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((path, after)) = link.split_once("`]") else { break };
        out += before;
        out += &c_path(abi, path);
        // The target of a link with a text of its own, and a plural.
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after.strip_prefix('s').unwrap_or(after),
        };
    }
    (out + rest).replace("a enum ", "an enum ").replace("A enum ", "An enum ")
}

/// What C calls the thing at a path of Rust.
fn c_path(abi: &Abi, path: &str) -> String {
    let mut parts = path.rsplit("::");
    let (last, owner) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_structure = |name: &str| abi.structures.iter().any(|item| item.name == name);
    let is_enumeration = |name: &str| abi.enumerations.iter().any(|item| item.name == name);
    if is_enumeration(owner) {
        c_constant(owner, &upper_case(last))
    } else if is_structure(owner) {
        format!("{}.{last}", c_name(owner))
    } else if is_structure(last) {
        format!("struct {}", c_name(last))
    } else if is_enumeration(last) {
        format!("enum {}", c_name(last))
    } else if abi.constants.iter().any(|item| item.name == last) {
        format!("PVOPS_{last}")
    } else if abi.constants.iter().any(|item| item.name.starts_with(&format!("{}_", upper_case(last)))) {
        format!("PVOPS_{}_…", upper_case(last))
    } else {
        last.to_owned()
    }
}

/// Constants that are strings.
fn strings(abi: &Abi) -> String {
    let mut out = String::new();
    for constant in &abi.constants {
        if let Value::Bytes(bytes) = &constant.value {
            for line in &constant.docs {
                _ = writeln!(out, "// {}", with_c_names(abi, line));
            }
            let text = String::from_utf8_lossy(bytes);
            _ = write!(out, "#define PVOPS_{} \"{}\"", constant.name, text.trim_end_matches('\0'));
        }
    }
    out
}

/// Every size and offset, as assertions of both languages.
fn assertions(abi: &Abi) -> String {
    let mut out = String::from(
        "// Sizes and offsets, as the specification has them.\n\
         #ifdef __cplusplus\n\
         #define PVOPS_ASSERT(condition) static_assert(condition, #condition)\n\
         #else\n\
         #define PVOPS_ASSERT(condition) _Static_assert(condition, #condition)\n\
         #endif\n",
    );
    for structure in &abi.structures {
        let name = c_name(&structure.name);
        _ = writeln!(out, "\nPVOPS_ASSERT(sizeof(struct {name}) == {});", structure.bytes);
        for field in &structure.fields {
            let offset = format!("offsetof(struct {name}, {})", field.name);
            _ = writeln!(out, "PVOPS_ASSERT({offset} == {});", field.offset);
        }
    }
    out.push_str("\n#undef PVOPS_ASSERT\n\n#endif");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn links_become_the_names_of_c() {
        let abi = Abi::read(&Workspace::find()).unwrap();
        for (rust, c) in [
            ("`rdi`: a [`crate::layout::PortKind`].", "`rdi`: an enum pvops_port_kind."),
            (
                "address of [`BatchEntry`]s, (≤ [`MAX_BATCH`])",
                "address of struct pvops_batch_entry, (≤ PVOPS_MAX_BATCH)",
            ),
            ("kind [`MemoryKind::StartInfo`].", "kind PVOPS_MEMORY_KIND_START_INFO."),
            ("of [`super::EventPage::pending`]", "of pvops_event_page.pending"),
            ("see [`pending`](Self::pending).", "see pending."),
            ("an open [`bracket", "an open [`bracket"),
        ] {
            assert_eq!(with_c_names(&abi, rust), c);
        }
    }
}
