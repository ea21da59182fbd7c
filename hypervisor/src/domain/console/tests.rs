//! What a terminal shows of what domains write at the same time.

use super::menu::{Answer, Choice, ESCAPE_KEY, Order, choice};
use super::output::{OPERATOR, Output, PIECE_BYTES};
use super::source::{MOST_BYTES, OWN_LINE_BYTES, RING_BYTES};
use crate::domain::NAME_BYTES;
use core::sync::atomic::AtomicU8;

fn output(domains: usize) -> Output {
    let mut output = Output::new();
    output.begin();
    for number in 0..domains {
        let mut name = [0; NAME_BYTES];
        name[0] = b'a' + number as u8;
        output.add_domain(number, name);
    }
    output
}

/// What goes out now, by FIFOs of 16 bytes.
fn shown(output: &mut Output, focus: usize) -> String {
    let mut text = Vec::new();
    let mut room = [0; 16];
    loop {
        let count = fill(output, focus, &mut room);
        text.extend_from_slice(&room[..count]);
        if count < room.len() {
            return String::from_utf8_lossy(&text).into_owned();
        }
    }
}

/// What goes out now, as far as there is room for it.
fn fill(output: &mut Output, focus: usize, room: &mut [u8]) -> usize {
    room.iter_mut().map_while(|place| output.next(focus).map(|byte| *place = byte)).count()
}

fn accept(output: &mut Output, domain: usize, text: &[u8]) -> usize {
    let text: Vec<_> = text.iter().copied().map(AtomicU8::new).collect();
    output.source(domain).accept(&text)
}

fn write(output: &mut Output, domain: usize, text: &str) {
    assert_eq!(accept(output, domain, text.as_bytes()), text.len(), "room for {text:?}");
}

/// A line of the hypervisor.
fn say(output: &mut Output, to: usize, text: &str) -> bool {
    output.say(to, 0, text.as_bytes(), &[], "")
}

#[test]
fn one_domain_has_no_tags_and_every_byte_goes_out_as_it_is() {
    let mut output = output(1);
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(accept(&mut output, 0, &bytes), 256);
    let mut room = [0; 300];
    assert_eq!(fill(&mut output, 0, &mut room), 256);
    assert_eq!(room[..256], bytes);
    write(&mut output, 0, "prompt> ");
    assert_eq!(shown(&mut output, 0), "prompt> ");
}

#[test]
fn several_domains_have_tags() {
    let mut output = output(2);
    write(&mut output, 0, "one\r\n\r\n");
    write(&mut output, 1, "two\r\nthree\n");
    assert_eq!(shown(&mut output, 0), "[b] two\r\n[a] one\r\n[b] three\r\n[a] \r\n");
}

#[test]
fn an_unfinished_line_goes_out_at_once_only_with_the_focus() {
    let mut output = output(2);
    write(&mut output, 0, "shell> ");
    write(&mut output, 1, "half a li");
    assert_eq!(shown(&mut output, 0), "[a] shell> ");
    write(&mut output, 0, "l");
    assert_eq!(shown(&mut output, 0), "l", "the line goes on without a tag");
    write(&mut output, 1, "ne\r\n");
    assert_eq!(shown(&mut output, 0), "\r\n[b] half a line\r\n", "on a line of its own");
    write(&mut output, 0, "s\r\n");
    assert_eq!(shown(&mut output, 0), "[a] s\r\n");
}

#[test]
fn the_focus_changes_in_the_middle_of_lines() {
    let mut output = output(2);
    write(&mut output, 0, "shell> ");
    write(&mut output, 1, "other> ");
    assert_eq!(shown(&mut output, 0), "[a] shell> ");
    assert!(say(&mut output, OPERATOR, "focus"));
    assert_eq!(shown(&mut output, 1), "\r\nfocus\r\n[b] other> ");
    write(&mut output, 0, "rest");
    assert_eq!(shown(&mut output, 1), "", "without the focus it waits");
    write(&mut output, 0, "\r\n");
    assert_eq!(shown(&mut output, 1), "\r\n[a] rest\r\n");
}

/// A guest that always has a line to write and goes on where there was no room before.
#[derive(Default)]
struct Flood {
    lines: usize,
    waiting: Vec<u8>,
}

impl Flood {
    fn fill(&mut self, output: &mut Output, domain: usize) {
        loop {
            if self.waiting.is_empty() {
                self.waiting = format!("flood {:06}\r\n", self.lines).into_bytes();
                self.lines += 1;
            }
            let accepted = accept(output, domain, &self.waiting);
            self.waiting.drain(..accepted);
            if !self.waiting.is_empty() {
                return;
            }
        }
    }
}

#[test]
fn a_flood_lets_a_quiet_domain_through_after_one_line() {
    for focus in 0..2 {
        let mut output = output(2);
        let mut flood = Flood::default();
        let mut text = Vec::new();
        for step in 0..10_000 {
            flood.fill(&mut output, 0);
            if step % 100 == 50 {
                // What is staged already goes first, and it is the flood's turn at most once more.
                text.extend_from_slice(b"<");
                write(&mut output, 1, &format!("quiet {step}\r\n"));
            }
            let mut room = [0; 16];
            assert_eq!(fill(&mut output, focus, &mut room), 16);
            text.extend_from_slice(&room);
        }
        let text = String::from_utf8(text).unwrap();
        for wait in text.split('<').skip(1) {
            let before = wait.split("[b] quiet ").next().unwrap();
            assert!(before.matches('\n').count() <= 2, "{before:?} went before the quiet line");
        }
        let whole = text.replace('<', "");
        let lines: Vec<&str> = whole.split_inclusive("\r\n").filter(|line| line.ends_with('\n')).collect();
        let flooded = lines.iter().filter(|line| line.starts_with("[a] "));
        for (number, line) in flooded.enumerate() {
            assert_eq!(*line, format!("[a] flood {number:06}\r\n"));
        }
        let quiet: Vec<&&str> = lines.iter().filter(|line| !line.starts_with("[a] ")).collect();
        assert_eq!(quiet.len(), 100);
        for (number, line) in quiet.iter().enumerate() {
            assert_eq!(**line, format!("[b] quiet {}\r\n", number * 100 + 50));
        }
    }
}

#[test]
fn floods_take_turns_by_lines() {
    let mut output = output(3);
    for domain in 0..3 {
        for line in 0..20 {
            write(&mut output, domain, &format!("line {line}\r\n"));
        }
    }
    let text = shown(&mut output, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 60);
    for (at, line) in lines.iter().enumerate() {
        let domain = ["b", "c", "a"][at % 3];
        assert_eq!(*line, format!("[{domain}] line {}", at / 3));
    }
}

#[test]
fn an_unfinished_line_beside_a_flood_is_shown_after_some_lines() {
    let mut output = output(2);
    for line in 0..9 {
        write(&mut output, 1, &format!("{line}\n"));
    }
    write(&mut output, 0, "shell> ");
    let text = shown(&mut output, 0);
    assert!(text.starts_with("[b] 0\r\n[b] 1\r\n[b] 2\r\n[a] shell> \r\n[b] 3\r\n"), "{text:?}");
}

#[test]
fn an_unfinished_line_beside_long_ones_and_the_operator_is_shown_as_well() {
    let mut output = output(2);
    for line in 0..4 {
        write(&mut output, 1, &format!("{line}{}\n", "x".repeat(199)));
    }
    write(&mut output, 0, "shell> ");
    let text = shown(&mut output, 0);
    assert!(text.find("shell> ") < text.find('3'), "{text:?}");
    for line in 0..9 {
        write(&mut output, 1, &format!("{line}\n"));
    }
    write(&mut output, 0, "ls");
    let mut room = [0; 3 * "[b] 0\r\n".len()];
    let count = fill(&mut output, 0, &mut room);
    assert!(room[..count].ends_with(b"[b] 2\r\n"), "three lines went first");
    assert!(say(&mut output, OPERATOR, "menu"));
    let text = shown(&mut output, 0);
    assert!(text.find("ls") < text.find('4'), "{text:?}");
}

#[test]
fn a_line_that_is_finished_soon_is_not_cut() {
    let mut output = output(2);
    for line in 0..9 {
        write(&mut output, 1, &format!("{line}\n"));
    }
    write(&mut output, 0, "in two ");
    let mut room = [0; 16];
    assert_eq!(fill(&mut output, 0, &mut room), 16);
    write(&mut output, 0, "parts\n");
    assert!(shown(&mut output, 0).contains("[a] in two parts\r\n"));
}

#[test]
fn a_long_line_is_whole_if_its_end_is_known() {
    let mut output = output(2);
    let long = "x".repeat(500);
    write(&mut output, 0, &format!("{long}\n"));
    write(&mut output, 1, "short\nshort\n");
    let text = shown(&mut output, 1);
    assert!(text.contains(&format!("[a] {long}\r\n")), "{text}");
}

#[test]
fn a_line_without_end_does_not_stop_others() {
    let mut output = output(2);
    write(&mut output, 0, &"x".repeat(500));
    write(&mut output, 1, "short\n");
    let text = shown(&mut output, 1);
    assert!(text.contains("[b] short\r\n"), "{text}");
    let piece = PIECE_BYTES as usize;
    assert_eq!(text.matches('x').count(), 500 / piece * piece, "pieces of that size go out, the rest waits");
    assert_eq!(text.matches("[a] ").count(), text.matches("short").count(), "only another line cuts it");
}

#[test]
fn cursor_movements_are_for_the_focus() {
    let mut output = output(2);
    write(&mut output, 0, "a\rb\x1b[2J\x08\t\x7f\u{e4}\r\n");
    assert_eq!(shown(&mut output, 1), "[a] ab?[2J?\t?\u{e4}\r\n");
    write(&mut output, 1, "a\rb\x1b[2J\x08\r\n");
    assert_eq!(shown(&mut output, 1), "[b] a\rb\x1b[2J\x08\r\n");
    write(&mut output, 1, "\rc\n\rd\re\n");
    assert_eq!(shown(&mut output, 1), "[b] c\r\n[b] d\re\r\n", "not into the tag");
}

// covers: CONS-001, CONS-002
#[test]
fn a_full_ring_takes_what_fits_and_loses_nothing() {
    let mut output = output(1);
    let text: Vec<u8> = (0..10_000u32).map(|number| b'a' + (number % 26) as u8).collect();
    let mut written = 0;
    let mut read = Vec::new();
    let mut room = [0; 37];
    // The ring wraps round many times, at all places.
    while read.len() < text.len() {
        written += accept(&mut output, 0, &text[written..(written + 101).min(text.len())]);
        assert!(output.source(0).len() <= MOST_BYTES);
        let count = fill(&mut output, 0, &mut room);
        read.extend_from_slice(&room[..count]);
    }
    assert_eq!(read, text);
    while accept(&mut output, 0, b"x") == 1 {}
    assert_eq!(accept(&mut output, 0, b"more"), 0);
}

#[test]
fn a_line_about_a_domain_finds_room_beside_its_flood_and_follows_its_words() {
    let mut output = output(2);
    write(&mut output, 0, "last words");
    while accept(&mut output, 0, b"!") == 1 {}
    let line_bytes = OWN_LINE_BYTES as usize - 1;
    assert!(say(&mut output, 0, &"-".repeat(line_bytes)));
    assert_eq!(output.source(0).len() as usize, RING_BYTES);
    assert!(!say(&mut output, 0, "-"), "there is no room for a second one");
    let text = shown(&mut output, 1);
    let line = "-".repeat(line_bytes);
    assert!(text.starts_with("[a] last words!!!"), "{text}");
    assert!(text.ends_with(&format!("!\r\n{line}\r\n")), "{text}");
    assert!(say(&mut output, 0, "no\x1b\rmovements"));
    assert_eq!(shown(&mut output, 0), "no?movements\r\n");
}

#[test]
fn lines_about_a_domain_stand_together_and_what_it_writes_is_none() {
    let mut output = output(2);
    write(&mut output, 0, "before\n");
    assert!(say(&mut output, 0, "one"));
    assert!(say(&mut output, 0, "two"));
    write(&mut output, 0, "half a line");
    assert!(!say(&mut output, 0, "apart"), "it waits until the others are shown");
    write(&mut output, 0, ", and forged\n");
    assert_eq!(shown(&mut output, 1), "[a] before\r\none\r\ntwo\r\n[a] half a line, and forged\r\n");
    assert!(say(&mut output, 0, "apart"));
    assert_eq!(shown(&mut output, 1), "apart\r\n");
}

#[test]
fn a_line_about_a_domain_ends_its_unfinished_one() {
    for focus in 0..2 {
        let mut output = output(2);
        write(&mut output, 0, "shell> ");
        assert!(say(&mut output, 0, "dump"));
        write(&mut output, 0, "ls\n");
        assert_eq!(shown(&mut output, focus), "[a] shell> \r\ndump\r\n[a] ls\r\n");
    }
}

#[test]
fn the_operator_goes_before_a_flood_but_into_no_line() {
    let mut output = output(2);
    for _ in 0..20 {
        write(&mut output, 1, "0123456789\n");
    }
    let mut room = [0; 5];
    fill(&mut output, 0, &mut room);
    assert!(say(&mut output, OPERATOR, "menu"));
    assert!(shown(&mut output, 0).starts_with("123456789\r\nmenu\r\n[b] "));
}

#[test]
fn at_the_end_everything_goes_out() {
    let mut output = output(3);
    write(&mut output, 0, "a");
    write(&mut output, 1, "b");
    write(&mut output, 2, "c\nd");
    output.finish();
    assert_eq!(shown(&mut output, 0), "[b] b\r\n[c] c\r\n[a] a\r\n[c] d");
}

#[test]
fn the_menu_opens_and_closes() {
    assert_eq!(choice(false, b'l'), Choice::Input(b'l'));
    assert_eq!(choice(false, 0x1b), Choice::Input(0x1b));
    assert_eq!(choice(false, ESCAPE_KEY), Choice::Tell(Answer::Menu));
    for (key, expected) in [
        (ESCAPE_KEY, Choice::Next),
        (b'1', Choice::Focus(0)),
        (b'8', Choice::Focus(7)),
        (b'9', Choice::Tell(Answer::NoKey)),
        (b'0', Choice::Tell(Answer::NoKey)),
        (b'p', Choice::Order(Order::Pause)),
        (b'c', Choice::Order(Order::Continue)),
        (b'r', Choice::Order(Order::Restart)),
        (b'd', Choice::Order(Order::Dump)),
        (b'l', Choice::List),
        (b't', Choice::Input(ESCAPE_KEY)),
        (0x1b, Choice::Tell(Answer::Back)),
        (b'\r', Choice::Tell(Answer::NoKey)),
        (0xff, Choice::Tell(Answer::NoKey)),
    ] {
        assert_eq!(choice(true, key), expected);
    }
}
