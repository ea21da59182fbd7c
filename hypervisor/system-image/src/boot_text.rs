//! Words that only boot prints, in memory that is given back.
//!
//! A string literal has no name, so the linker cannot tell boot's from others. A `static` has one, and the hypervisor's
//! linker script sorts by names. Nothing else changes: what this makes is a `&'static str`.

/// The literal, as part of the module that it stands in.
#[macro_export]
macro_rules! boot_text {
    ($text:literal) => {{
        static BYTES: [u8; $text.len()] = *$text.as_bytes().first_chunk().unwrap();
        $crate::text_of(&BYTES)
    }};
}

/// The bytes of a literal as text again. When it runs: as a constant, it would have no name of its own.
pub const fn text_of(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_literal() {
        assert_eq!(boot_text!("Größe\n"), "Größe\n");
        assert_eq!(boot_text!(""), "");
    }
}
