//! How far a run is, on standard error: a bar on a terminal, nothing elsewhere (what went wrong is printed at the end).

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Progress;
use crate::text::printable_line;
use crate::transcript::Record;

/// The display.
pub(crate) struct Display {
    bar: ProgressBar,
    /// Results already shown.
    shown: usize,
}

impl Display {
    /// Nothing shown yet.
    pub(crate) fn new(target: &str) -> Self {
        let bar = ProgressBar::new(0);
        bar.set_style(
            ProgressStyle::with_template(
                "{spinner} {prefix} [{bar:30.cyan/dim}] {pos}/{len} ({elapsed}) {wide_msg:.dim}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─"),
        );
        bar.set_prefix(target.to_owned());
        bar.set_message("starting");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, shown: 0 }
    }

    /// Shows how far it is; what went wrong stays on the screen.
    pub(crate) fn show(&mut self, progress: &Progress<'_>) {
        let records: Vec<&Record> = progress.before.iter().chain(&progress.now.records).collect();
        for record in records.iter().skip(self.shown).filter(|record| record.verdict.is_bad()) {
            self.bar.println(format!("{:<8}{}  {}", record.verdict, record.name, record.detail));
        }
        self.shown = records.len();
        self.bar.set_length(progress.planned as u64);
        self.bar.set_position(records.len() as u64);
        let running = progress.now.open.as_ref().map_or("", |open| open.name.as_str());
        self.bar.set_message(printable_line(running));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
