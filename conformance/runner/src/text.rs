//! Console text for people: without what steers terminals, and only as much as is worth showing.

/// Console text without terminal escape sequences (firmware writes many) and carriage returns.
pub fn without_escapes(console: &str) -> String {
    let mut text = String::with_capacity(console.len());
    let mut characters = console.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' if characters.peek() == Some(&'[') => {
                characters.next();
                // A control sequence ends with a byte from '@' to '~'.
                for parameter in characters.by_ref() {
                    if ('@'..='~').contains(&parameter) {
                        break;
                    }
                }
            }
            '\r' | '\x1b' => {}
            _ => text.push(character),
        }
    }
    text
}

/// The last `count` lines that are not blank.
pub fn last_lines(console: &str, count: usize) -> Vec<String> {
    let printable = without_escapes(console);
    let lines: Vec<&str> = printable.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| printable_line(line)).collect()
}

/// A line without control characters, which neither terminals nor XML take well.
pub fn printable_line(line: &str) -> String {
    let replace = |character: char| match character {
        '\t' => ' ',
        _ if character.is_control() || "\u{fffe}\u{ffff}".contains(character) => '\u{fffd}',
        _ => character,
    };
    line.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_removed() {
        assert_eq!(without_escapes("\x1b[2J\x1b[01;01Ha\r\nb\x1b"), "a\nb");
        assert_eq!(without_escapes("\x1b[31"), "");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        assert_eq!(last_lines("a\n\n b\r\nc\n", 2), [" b", "c"]);
        assert!(last_lines("\n", 2).is_empty());
        assert_eq!(last_lines("a\0b\tc", 1), ["a\u{fffd}b c"]);
    }
}
