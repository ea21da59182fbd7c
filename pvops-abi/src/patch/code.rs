//! Instructions to put into a site: written down by a backend, placed and padded by the patcher.

use super::operation::{MAX_SITE_BYTES, Operation};

/// Instructions for one site. Backends write them as constants that end in [`Self::for_site`], so that one too
/// long for its site does not compile; places that depend on addresses are filled in by [`Self::to`].
#[derive(Clone, Copy, Debug)]
pub struct Code {
    bytes: [u8; MAX_SITE_BYTES],
    length: usize,
    references: [Reference; MAX_REFERENCES],
    reference_count: usize,
}

/// Most references of one code.
const MAX_REFERENCES: usize = 2;
/// Bytes of a reference: a signed distance from the end of its instruction.
const REFERENCE_BYTES: usize = 4;

/// A reference to an address, relative to the instruction pointer. It stands at the end of its instruction.
#[derive(Clone, Copy, Debug)]
struct Reference {
    at: usize,
    target: Option<u64>,
}

impl Code {
    /// No instruction: the site becomes padding.
    pub const NOTHING: Self = Self {
        bytes: [0; MAX_SITE_BYTES],
        length: 0,
        references: [Reference { at: 0, target: None }; MAX_REFERENCES],
        reference_count: 0,
    };

    /// These instructions.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self::NOTHING.then(bytes)
    }

    /// These bytes behind the ones there are.
    ///
    /// # Panics
    /// Beyond the length of the longest site.
    #[must_use]
    pub const fn then(mut self, bytes: &[u8]) -> Self {
        assert!(self.length + bytes.len() <= MAX_SITE_BYTES, "longer than any site");
        let mut index = 0;
        while index < bytes.len() {
            self.bytes[self.length] = bytes[index];
            self.length += 1;
            index += 1;
        }
        self
    }

    /// The last four bytes of an instruction: the distance to an address that [`Self::to`] gives.
    ///
    /// # Panics
    /// Beyond the length of the longest site, or with too many references.
    #[must_use]
    pub const fn then_reference(mut self) -> Self {
        assert!(self.reference_count < MAX_REFERENCES, "too many references");
        self.references[self.reference_count].at = self.length;
        self.reference_count += 1;
        self.then(&[0; REFERENCE_BYTES])
    }

    /// A direct call, to an address that [`Self::to`] gives. What is called keeps every register but those that
    /// the site of this operation gives away, see [`super`].
    ///
    /// # Panics
    /// As [`Self::then_reference`].
    #[must_use]
    pub const fn then_call(self) -> Self {
        self.then(&[0xe8]).then_reference()
    }

    /// Asserts that it fits into sites of `operation`. In a constant, this is an error of the compiler.
    ///
    /// # Panics
    /// When it does not fit.
    #[must_use]
    pub const fn for_site(self, operation: Operation) -> Self {
        assert!(self.length <= operation.site_bytes(), "longer than its site");
        self
    }

    /// Gives the next reference without an address this one.
    ///
    /// # Panics
    /// When all have one.
    #[must_use]
    pub fn to(mut self, target: *const ()) -> Self {
        let open = self.references[..self.reference_count].iter_mut().find(|open| open.target.is_none());
        open.expect("a reference without an address").target = Some(target as u64);
        self
    }

    /// The bytes of a site of `operation` at `address`. `None`: too long for it, an address is missing or too far.
    #[must_use]
    pub fn place(&self, operation: Operation, address: u64) -> Option<PlacedCode> {
        let length = operation.site_bytes();
        let mut bytes = self.bytes;
        pad(bytes.get_mut(self.length..length)?);
        for reference in &self.references[..self.reference_count] {
            let end = reference.at + REFERENCE_BYTES;
            let distance = reference.target?.wrapping_sub(address.wrapping_add(end as u64)) as i64;
            let distance = i32::try_from(distance).ok()?;
            bytes[reference.at..end].copy_from_slice(&distance.to_le_bytes());
        }
        Some(PlacedCode { bytes, length })
    }
}

/// The bytes of one site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacedCode {
    bytes: [u8; MAX_SITE_BYTES],
    length: usize,
}

impl PlacedCode {
    /// As many as the site has.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The recommended forms of NOP, by length (Intel SDM volume 2, NOP, table 4-12).
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];
/// Two of the longest; what is longer is jumped over, as one instruction is cheaper than three.
const MAX_NOP_BYTES: usize = 2 * NOPS.len();
/// `jmp` with a distance of one byte.
const SHORT_JUMP: u8 = 0xeb;
const SHORT_JUMP_BYTES: usize = 2;

/// Fills the rest of a site: as few instructions as there can be.
fn pad(mut rest: &mut [u8]) {
    if rest.len() > MAX_NOP_BYTES {
        rest[0] = SHORT_JUMP;
        rest[1] = (rest.len() - SHORT_JUMP_BYTES) as u8;
        rest = &mut rest[SHORT_JUMP_BYTES..];
    }
    for part in rest.chunks_mut(NOPS.len()) {
        part.copy_from_slice(NOPS[part.len() - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0xffff_8000_0010_0000;

    fn placed(code: Code, operation: Operation) -> PlacedCode {
        code.place(operation, AT).unwrap()
    }

    #[test]
    fn a_short_code_is_padded_by_one_nop() {
        let code = placed(Code::new(&[0xfa]), Operation::IrqDisable);
        assert_eq!(code.bytes(), [0xfa, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_code_of_the_sites_length_is_not_padded() {
        let code = placed(Code::new(&[1, 2, 3, 4, 5, 6, 7, 8]), Operation::CpuCurrent);
        assert_eq!(code.bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn nothing_is_one_nop() {
        let code = placed(Code::NOTHING, Operation::CpuUserAccessBegin);
        assert_eq!(code.bytes(), [0x0f, 0x1f, 0x44, 0, 0]);
    }

    #[test]
    fn two_nops_where_one_is_too_short() {
        let code = placed(Code::new(&[0x90; 16]), Operation::TimeNow);
        let nops = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x0f, 0x1f, 0x44, 0, 0];
        assert_eq!(&code.bytes()[16..], nops);
    }

    #[test]
    fn a_long_rest_is_jumped_over() {
        let code = placed(Code::new(&[0xfb]), Operation::IrqEnable);
        let bytes = code.bytes();
        assert_eq!(bytes.len(), 25);
        assert_eq!(&bytes[..3], [0xfb, 0xeb, 22], "the jump ends where the site does");
        assert_eq!(&bytes[3..12], NOPS[8]);
    }

    /// Decodes what `pad` may produce; returns how many instructions are executed.
    fn executed(mut rest: &[u8]) -> usize {
        let mut count = 0;
        while let Some(first) = rest.first() {
            let length = if *first == SHORT_JUMP {
                SHORT_JUMP_BYTES + usize::from(rest[1])
            } else {
                // No form begins like a shorter one.
                NOPS.iter().rev().find(|nop| rest.starts_with(nop)).expect("a NOP").len()
            };
            rest = &rest[length..];
            count += 1;
        }
        count
    }

    #[test]
    fn every_length_is_filled_exactly() {
        for length in 0..=MAX_SITE_BYTES {
            let mut rest = [0xcc; MAX_SITE_BYTES];
            pad(&mut rest[..length]);
            let expected = match length {
                0 => 0,
                10..=MAX_NOP_BYTES => 2,
                _ => 1,
            };
            assert_eq!(executed(&rest[..length]), expected, "{length} bytes");
            assert!(rest[length..].iter().all(|byte| *byte == 0xcc));
        }
    }

    #[test]
    fn the_nops_have_their_lengths() {
        assert!((1..).zip(NOPS).all(|(length, nop)| nop.len() == length));
    }

    #[test]
    fn calls_go_forth_and_back() {
        let call = Code::NOTHING.then_call().for_site(Operation::MmuLoadRoot);
        let forth = placed(call.to((AT + 0x1000) as *const ()), Operation::MmuLoadRoot);
        assert_eq!(forth.bytes(), [0xe8, 0xfb, 0x0f, 0, 0]);
        let back = placed(call.to((AT - 0x1000) as *const ()), Operation::MmuLoadRoot);
        assert_eq!(back.bytes(), [0xe8, 0xfb, 0xef, 0xff, 0xff]);
    }

    #[test]
    fn references_are_filled_in_order() {
        let code = Code::new(&[0xa0]).then_reference().then(&[0xa1]).then_reference();
        let code = code.to((AT + 5) as *const ()).to((AT + 110) as *const ());
        let code = placed(code, Operation::TimeNow);
        assert_eq!(&code.bytes()[..10], [0xa0, 0, 0, 0, 0, 0xa1, 100, 0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        let call = Code::NOTHING.then_call();
        assert!(call.place(Operation::MmuLoadRoot, AT).is_none(), "no address");
        let end = AT + 5;
        for (target, is_near) in [
            (end + 0x7fff_ffff, true),
            (end + 0x8000_0000, false),
            (end - 0x8000_0000, true),
            (end - 0x8000_0001, false),
            (0x1000, false),
        ] {
            let placed = call.to(target as *const ()).place(Operation::MmuLoadRoot, AT);
            assert_eq!(placed.is_some(), is_near, "{target:#x}");
        }
    }

    #[test]
    fn what_is_too_long_for_its_site_is_refused() {
        let code = Code::new(&[0x90; 9]);
        assert!(code.place(Operation::IrqDisable, AT).is_some());
        assert!(code.place(Operation::CpuCurrent, AT).is_none());
    }

    #[test]
    #[should_panic(expected = "longer than its site")]
    fn what_is_too_long_does_not_compile_in_a_constant() {
        let _ = Code::new(&[0x90; 6]).for_site(Operation::MmuLoadRoot);
    }

    #[test]
    #[should_panic(expected = "longer than any site")]
    fn nothing_is_longer_than_the_longest_site() {
        let _ = Code::new(&[0x90; MAX_SITE_BYTES]).then(&[0x90]);
    }
}
