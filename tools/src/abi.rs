//! The ABI as data, read from the source of `pvops-abi`: every number, layout and documentation comment.
//!
//! The crate is the single source. From here the C header is generated ([`header`]) and the tables of the
//! specification are checked (`specification::tables`), so none of the three can disagree with the others. It is the
//! source that is read and not the compiled crate, because only the source can be enumerated and has the comments;
//! that sizes and offsets are true is asserted in it at compile time.

mod evaluate;
mod grammar;
pub mod header;
mod source;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// All of it.
#[derive(Debug, Default)]
pub struct Abi {
    /// Constants, by name.
    pub constants: Vec<Constant>,
    /// Enumerations and sets of flags.
    pub enumerations: Vec<Enumeration>,
    /// Calls.
    pub calls: Vec<Call>,
    /// Structures in shared memory.
    pub structures: Vec<Structure>,
}

/// A constant.
#[derive(Debug)]
pub struct Constant {
    /// As in Rust, behind the name of its module or type where the bare name would not say enough.
    pub name: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// Its value.
    pub value: Value,
}

/// What a constant can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i128),
    /// Bytes, as an ELF note's owner.
    Bytes(Vec<u8>),
}

/// An enumeration, or a set of flags.
#[derive(Debug)]
pub struct Enumeration {
    /// As in Rust.
    pub name: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// Its members.
    pub members: Vec<Member>,
}

/// A member of an enumeration.
#[derive(Debug)]
pub struct Member {
    /// In upper case, words joined by `_`.
    pub name: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// Its value.
    pub value: i128,
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Short name of its extension.
    pub extension: &'static str,
    /// Name of the function, in upper case.
    pub function: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// What goes into `rax`.
    pub number: u64,
}

/// A structure.
#[derive(Debug)]
pub struct Structure {
    /// As in Rust.
    pub name: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// Size.
    pub bytes: u64,
    /// Alignment, where it is more than the fields' own.
    pub alignment: Option<u64>,
    /// Fields in their order.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Its comment.
    pub docs: Vec<String>,
    /// Type, in terms of plain integers, arrays of them, and other structures.
    pub kind: FieldType,
    /// Where it begins.
    pub offset: u64,
}

/// Types of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `u8` to `u64`, `i64`.
    Integer(&'static str),
    /// An array.
    Array(Box<FieldType>, u64),
    /// A structure of the ABI.
    Structure(String),
}

impl Abi {
    /// Reads the crate in this workspace.
    ///
    /// # Errors
    /// A file cannot be read, or says something in a way that is not understood here.
    pub fn read(workspace: &Workspace) -> Result<Self, Failure> {
        source::read(&workspace.root.join("pvops-abi/src"))
    }

    /// The value of a numeric constant.
    pub fn number(&self, name: &str) -> Option<i128> {
        self.constants.iter().find(|constant| constant.name == name).and_then(|constant| {
            match constant.value {
                Value::Number(number) => Some(number),
                Value::Bytes(_) => None,
            }
        })
    }

    /// Bytes of a field.
    pub fn field_bytes(&self, kind: &FieldType) -> u64 {
        match kind {
            FieldType::Integer(name) => name[1..].parse::<u64>().map_or(0, |bits| bits / 8),
            FieldType::Array(element, count) => self.field_bytes(element) * count,
            FieldType::Structure(name) => self
                .structures
                .iter()
                .find(|structure| structure.name == *name)
                .map_or(0, |found| found.bytes),
        }
    }
}

/// `StartInfo` → `start_info`.
pub fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `StartInfo` → `START_INFO`.
pub fn upper_case(name: &str) -> String {
    snake_case(name).to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvops_abi::call::{Cpu, Extension};
    use pvops_abi::layout::start_info::{START_INFO_MAGIC, StartInfo};
    use pvops_abi::layout::{EventPage, MAX_BATCH, MemoryKind};
    use pvops_abi::note::OWNER;
    use pvops_abi::version::CURRENT;

    fn abi() -> Abi {
        Abi::read(&Workspace::find()).unwrap()
    }

    /// The source is read as the compiler reads it: one of each kind, compared with the compiled crate.
    #[test]
    fn what_is_read_is_what_was_compiled() {
        let abi = abi();
        assert_eq!(abi.number("START_INFO_MAGIC"), Some(START_INFO_MAGIC.into()));
        assert_eq!(abi.number("ABI_VERSION"), Some(CURRENT.to_bits().into()));
        assert_eq!(abi.number("MAX_BATCH"), Some(MAX_BATCH.into()));
        assert_eq!(abi.number("TRAP_GATE_MASK_EVENTS"), Some(4));
        let owner = abi.constants.iter().find(|constant| constant.name == "NOTE_OWNER").unwrap();
        assert_eq!(owner.value, Value::Bytes(OWNER.to_vec()));
        let iret = abi.calls.iter().find(|call| call.extension == "CPU" && call.function == "IRET").unwrap();
        assert_eq!(iret.number, Cpu::Iret.id().0);
        let kinds = abi.enumerations.iter().find(|enumeration| enumeration.name == "MemoryKind").unwrap();
        let page = kinds.members.iter().find(|member| member.name == "HYPERCALL_PAGE").unwrap();
        assert_eq!(page.value, MemoryKind::HypercallPage as i128);
        let numbers = abi.enumerations.iter().find(|enumeration| enumeration.name == "Extension").unwrap();
        assert_eq!(numbers.members.len(), Extension::ALL.len());
    }

    #[test]
    fn fields_fill_their_structures() {
        let abi = abi();
        let sizes = [("StartInfo", size_of::<StartInfo>()), ("EventPage", size_of::<EventPage>())];
        for (name, bytes) in sizes {
            let found = abi.structures.iter().find(|structure| structure.name == name).unwrap();
            assert_eq!(found.bytes, bytes as u64);
        }
        for structure in &abi.structures {
            let mut end = 0;
            for field in &structure.fields {
                assert_eq!(field.offset, end, "{}.{}: a hole", structure.name, field.name);
                end += abi.field_bytes(&field.kind);
            }
            assert_eq!(end, structure.bytes, "{}: a hole at its end", structure.name);
        }
    }

    #[test]
    fn names_change_their_case_word_by_word() {
        assert_eq!(snake_case("StartInfo"), "start_info");
        assert_eq!(upper_case("NotSupported"), "NOT_SUPPORTED");
        assert_eq!(upper_case("Fs"), "FS");
    }
}
