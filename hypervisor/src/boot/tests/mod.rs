//! Tests of what stands between an untrusted ELF file and a domain: a maker of small kernels ([`Recipe`]), every
//! refusal provoked, files damaged at random, and a look at the domain that was built.

mod built;
mod damaged;
mod devices;
mod refused;
mod specified;

use super::elf::Kernel;
use super::refusal::Refusal;
use pvops_abi::layout::start_info::ExecutionMode;
use pvops_abi::note::NoteType;
use pvops_abi::version;

const PAGE: usize = 4096;
const TEXT: u64 = 0x1000;
const CONSTANTS: u64 = 0x2000;
const DATA: u64 = 0x3000;
/// Where the entry is in the code.
const ENTRY: u64 = TEXT + 0x20;
/// Offsets in the constants.
const RELOCATIONS_AT: usize = 0x800;
/// Bytes of the data segment that the file does not have.
const ZEROED: u64 = 0x2100;

/// Flags of program headers.
const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;

/// A program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    virt: u64,
    file_bytes: u64,
    memory_bytes: u64,
    alignment: u64,
}

/// A kernel to make: code, constants with notes and relocations, data with zeroed memory behind.
#[derive(Clone)]
struct Recipe {
    class: u8,
    machine: u16,
    kind: u16,
    headers: Vec<Header>,
    notes: Vec<(u32, Vec<u64>)>,
    owner: &'static [u8; 8],
    relocations: Vec<[u64; 3]>,
    dynamic: Vec<[u64; 2]>,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const NOTE: u32 = 4;

impl Recipe {
    /// A relocatable kernel that is accepted.
    fn good() -> Self {
        let load = |virt: u64, flags: u32, more: u64| Header {
            kind: LOAD,
            flags,
            offset: virt,
            virt,
            file_bytes: 0x1000,
            memory_bytes: 0x1000 + more,
            alignment: 0x1000,
        };
        let part = |kind: u32, virt: u64, bytes: u64| Header {
            kind,
            flags: READ,
            offset: virt,
            virt,
            file_bytes: bytes,
            memory_bytes: bytes,
            alignment: 4,
        };
        let modes = 1 << ExecutionMode::Deprivileged as u64;
        let mut recipe = Self {
            class: 2,
            machine: 62,
            kind: 3,
            headers: vec![
                load(TEXT, READ | EXECUTE, 0),
                load(CONSTANTS, READ, 0),
                load(DATA, READ | WRITE, ZEROED),
                part(NOTE, CONSTANTS, 0),
                part(DYNAMIC, DATA, 0x200),
            ],
            notes: vec![
                (NoteType::Entry as u32, vec![0]),
                (NoteType::AbiVersion as u32, vec![version::CURRENT.to_bits().into()]),
                (NoteType::ExecutionModes as u32, vec![modes]),
                (NoteType::Requires as u32, vec![1, 2, 4]),
                (NoteType::Wants as u32, vec![0x10]),
            ],
            owner: b"PVOPS\0\0\0",
            relocations: vec![[DATA + 0x300, 8, TEXT + 0x40], [CONSTANTS + 0xf00, 8, DATA]],
            dynamic: vec![],
        };
        recipe.set_entry(ENTRY);
        recipe.dynamic = vec![[7, CONSTANTS + RELOCATIONS_AT as u64], [8, 48], [9, 24], [0, 0]];
        recipe
    }

    /// The same kernel, not relocatable, linked at `base`.
    fn fixed(base: u64) -> Self {
        let mut recipe = Self { kind: 2, ..Self::good() };
        for header in &mut recipe.headers {
            header.virt = header.virt.wrapping_add(base);
        }
        recipe.headers.pop();
        recipe
    }

    /// The entry's note: distance from its descriptor, which is behind a header of 12 and a name of 8 bytes.
    fn set_entry(&mut self, entry: u64) {
        self.notes[0].1[0] = entry.wrapping_sub(CONSTANTS + 20);
    }

    fn note_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, words) in &self.notes {
            for field in [6, words.len() as u32 * 8, *kind] {
                bytes.extend(field.to_le_bytes());
            }
            bytes.extend(self.owner);
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; 4 * PAGE];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            file[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&[0x7f, b'E', b'L', b'F', self.class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        put(&self.kind.to_le_bytes());
        put(&self.machine.to_le_bytes());
        put(&1u32.to_le_bytes());
        for word in [ENTRY, 64, 0] {
            put(&word.to_le_bytes());
        }
        put(&0u32.to_le_bytes());
        for half in [64, 56, self.headers.len() as u16, 64, 0, 0] {
            put(&half.to_le_bytes());
        }
        let notes = self.note_bytes();
        for header in &self.headers {
            let is_sized = header.kind != NOTE || header.file_bytes != 0;
            let bytes = if is_sized { header.file_bytes } else { notes.len() as u64 };
            put(&header.kind.to_le_bytes());
            put(&header.flags.to_le_bytes());
            let memory = header.memory_bytes;
            for word in [header.offset, header.virt, header.virt, bytes, memory, header.alignment] {
                put(&word.to_le_bytes());
            }
        }
        file[TEXT as usize..][..PAGE].fill(0x90);
        file[CONSTANTS as usize..][..notes.len()].copy_from_slice(&notes);
        for (number, word) in self.relocations.iter().flatten().enumerate() {
            file[CONSTANTS as usize + RELOCATIONS_AT + number * 8..][..8]
                .copy_from_slice(&word.to_le_bytes());
        }
        for (number, word) in self.dynamic.iter().flatten().enumerate() {
            file[DATA as usize + number * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        file[DATA as usize + 0x400..][..4].copy_from_slice(b"data");
        file
    }
}

/// Checks and loads a file as boot does, but builds no domain.
fn accept(file: &[u8]) -> Result<Vec<u8>, Refusal> {
    let kernel = Kernel::parse(file)?;
    let mut image = vec![0; kernel.image_bytes as usize];
    kernel.load(&mut image, 0x1_0000_0000)?;
    Ok(image)
}

/// Pseudo-random numbers, the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}
