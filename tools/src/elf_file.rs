//! Guest and hypervisor ELFs on the host's side: reading, hashing, the few checks that can be made before boot.
//!
//! Whether a guest is fit to run is the hypervisor's decision, since it sees the file as untrusted bytes anyway;
//! here only what is no ELF at all is turned away, where a better message is possible.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::failure::{Failure, Kind};

/// An ELF file read into memory.
#[derive(Clone, Debug)]
pub struct ElfFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl ElfFile {
    /// Reads the file and checks its magic number.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
        if !is_elf(&bytes) {
            let message = format!("{} is not an ELF file", path.display());
            return Err(Failure::new(Kind::File, message));
        }
        Ok(Self { path: path.to_path_buf(), bytes })
    }

    /// SHA-256 of the whole file, in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256(&[&self.bytes])
    }
}

/// Whether the bytes begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// SHA-256 of several byte strings, each with its length, in hexadecimal.
///
/// With one string, the hash of just its bytes, as `sha256sum` prints it.
pub fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        if parts.len() > 1 {
            hash.update((part.len() as u64).to_le_bytes());
        }
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn one_part_hashes_like_sha256sum() {
        assert_eq!(sha256(&[b"abc"]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(sha256(&[b"ab", b"c"]), sha256(&[b"a", b"bc"]));
    }
}
