//! Words that only boot prints, in memory that is given back.
//!
//! A string literal has no name, so the linker cannot tell boot's from others. A `static` has one, and the hypervisor's
//! linker script sorts by names. Nothing else changes: what this makes is a `&'static str`.

/// The literal, as part of the module that it stands in.
#[macro_export]
macro_rules! boot_text {
    ($text:literal) => {{
        static BYTES: [u8; $text.len()] = *$text.as_bytes().first_chunk().unwrap();
        const TEXT: &str = match ::core::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        };
        TEXT
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_literal() {
        assert_eq!(boot_text!("Größe\n"), "Größe\n");
        assert_eq!(boot_text!(""), "");
    }
}
