//! The console shell: a line at a time, a table of commands.

mod commands;
pub(crate) mod crash;

use crate::console::{self, println};
use crate::threads::{self, Builder};
use alloc::vec::Vec;
use demo_logic::line_editor::{LineEditor, Outcome};

const PROMPT: &[u8] = b"pvops> ";

/// Runs the shell on a thread of its own, so that it answers while programs compute.
pub(crate) fn run() {
    let shell = Builder::new("shell", threads::HIGH).build(read_and_do).expect("memory for the shell");
    threads::launch(&shell);
    drop(shell);
}

fn read_and_do() {
    let mut editor = LineEditor::new();
    println!("type help for the commands");
    console::write_raw(PROMPT);
    // One at a time: what is typed behind a command may be for the program that it starts.
    let mut key = [0];
    loop {
        console::read(&mut key);
        handle(&mut editor, key[0]);
    }
}

fn handle(editor: &mut LineEditor, key: u8) {
    let mut echo = Vec::new();
    let outcome = editor.key(key, &mut echo);
    console::write_raw(&echo);
    match outcome {
        Outcome::Editing => return,
        Outcome::Cancelled => {}
        Outcome::Line(line) => {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let Some((command, arguments)) = words.split_first() {
                commands::execute(command, arguments);
            }
        }
    }
    console::write_raw(PROMPT);
}
