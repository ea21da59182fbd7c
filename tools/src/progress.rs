//! Progress on standard error: a spinner on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step under way. Dropped without [`Step::done`], it leaves nothing but its first line.
pub struct Step {
    label: String,
    started: Instant,
    spinner: ProgressBar,
}

impl Step {
    /// Begins a step, such as "building the hypervisor".
    pub fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        // Hidden by itself when standard error is not a terminal.
        let spinner = ProgressBar::new_spinner();
        spinner.set_style(
            ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        spinner.set_prefix(label.clone());
        spinner.enable_steady_tick(Duration::from_millis(100));
        if spinner.is_hidden() {
            eprintln!("{label} ...");
        }
        Self { label, started: Instant::now(), spinner }
    }

    /// Shows what it is doing right now; on a terminal only.
    pub fn note(&self, line: &str) {
        self.spinner.set_message(line.trim().to_owned());
    }

    /// Ends the step and says so.
    pub fn done(self, result: &str) {
        self.spinner.finish_and_clear();
        eprintln!("{}: {result} ({:.1} s)", self.label, self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}
