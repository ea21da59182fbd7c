//! The table of [`fast`]'s calls as the entry code uses it: numbers by place, then distances by number.
//!
//! Distances, because pointers would be twice as large, and relocated.

use super::system_call::pvops_long_call;
use crate::front::fast::*;
use core::arch::global_asm;

/// Eight places in a word, for the assembler.
const fn numbers(word: usize) -> u64 {
    let mut value = 0;
    let mut place = 8;
    while place > 0 {
        place -= 1;
        value = value << 8 | NUMBERS[word * 8 + place] as u64;
    }
    value
}

macro_rules! function_table {
    ($($name:ident),*) => {
        global_asm!(
            ".pushsection .rodata.pvops_call_table, \"a\"",
            ".balign 8",
            ".globl pvops_call_table",
            "pvops_call_table:",
            ".8byte {w0}, {w1}, {w2}, {w3}, {w4}, {w5}, {w6}, {w7}",
            ".8byte {w8}, {w9}, {w10}, {w11}, {w12}, {w13}, {w14}, {w15}",
            $(concat!(".4byte {", stringify!($name), "} - pvops_call_table"),)*
            ".popsection",
            w0 = const numbers(0), w1 = const numbers(1), w2 = const numbers(2), w3 = const numbers(3),
            w4 = const numbers(4), w5 = const numbers(5), w6 = const numbers(6), w7 = const numbers(7),
            w8 = const numbers(8), w9 = const numbers(9), w10 = const numbers(10), w11 = const numbers(11),
            w12 = const numbers(12), w13 = const numbers(13), w14 = const numbers(14), w15 = const numbers(15),
            $($name = sym $name,)*
        );
    };
}

call_functions!();

unsafe extern "C" {
    /// [`PLACES`] numbers, then the functions' distances from here.
    pub safe static pvops_call_table: [u8; PLACES];
}

/// The number of a place's function, as the table has it.
#[derive(Clone, Copy)]
pub struct Number(u8);

impl Number {
    /// That of what has no place.
    pub const UNKNOWN: Self = Self(UNKNOWN);

    /// That of a place.
    #[must_use]
    #[inline]
    pub fn of(place: usize) -> Self {
        let table = address_of!(pvops_call_table) as *const u8;
        // SAFETY: the table begins with so many numbers.
        Self(unsafe { table.add(place % PLACES).read() })
    }

    /// As [`NUMBERS`] has it.
    #[must_use]
    #[inline]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Its function.
    #[must_use]
    #[inline]
    pub fn function(self) -> Call {
        let table = address_of!(pvops_call_table) as *const u8;
        // SAFETY: the number is from the table that the assembly above wrote: behind the numbers stands, for each of them,
        // the distance to a function of this type.
        unsafe {
            let distance = table.byte_add(PLACES).cast::<i32>().add(self.0.into()).read();
            core::mem::transmute::<*const (), Call>(table.byte_offset(distance as isize).cast())
        }
    }
}
