//! The report as one page that needs no other file: plots, and the tables behind them.

use std::fmt::Write;

use super::report::Report;
use super::{plots, text};
use crate::failure::Failure;

/// Text, grid and ground follow the reader's choice of a light or a dark page. The colours that [`plots`] uses for text
/// and grid are replaced by it.
const STYLE: &str = "
:root { --ink: #1d2330; --faint: #5b6475; --grid: #dde1e8; --ground: #ffffff; --panel: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --faint: #9aa4b5; --grid: #39414f; --ground: #14171d; --panel: #1c2028; }
}
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1040px; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 4px; }
p { color: var(--faint); margin: 4px 0 12px; max-width: 800px; }
svg { width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif; }
pre { background: var(--panel); border-radius: 6px; font-size: 12px; line-height: 1.45; overflow-x: auto;
  padding: 12px; }
details > summary { color: var(--faint); cursor: pointer; }
";

/// The whole page.
pub fn page(report: &Report) -> Result<String, Failure> {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str(
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Hypermark</title>\n<style>",
    );
    page.push_str(STYLE);
    for (colour, name) in [(plots::INK, "--ink"), (plots::GRID, "--grid")] {
        let hex = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
        let _ = write!(
            page,
            "[fill=\"{hex}\"] {{ fill: var({name}); }}\n[stroke=\"{hex}\"] {{ stroke: var({name}); }}\n"
        );
    }
    page.push_str("</style>\n<h1>Hypermark</h1>\n<p>One kernel ELF on the bare machine and as a guest. Under QEMU with ");
    page.push_str(
        "one instruction per tick of the clock, so a figure is a count of instructions, the same on every ",
    );
    page.push_str("computer.</p>\n");
    if !report.operations.is_empty() {
        section(
            &mut page,
            "Operations",
            "From the guest's first instruction of the operation to its first one behind it, or of its handler; median \
             of 1001. The scale is logarithmic.",
            &[plots::operations(&report.operations)?],
        );
    }
    if !report.workloads.is_empty() {
        section(
            &mut page,
            "Workloads",
            "Overhead of whole workloads, done by user programs, against the bare machine. Several guests contend for \
             one CPU and are switched every 5 ms; two guests do twice the work.",
            &[plots::workloads(&report.workloads)?],
        );
    }
    if report.latencies.iter().any(|row| !row.series.is_empty()) {
        section(
            &mut page,
            "Latency",
            "How late a thread begins that is due every millisecond: timer, interrupt, wake-up and switch together. \
             Neighbours run on the same CPU with a lower priority.",
            &[
                plots::cumulative(&report.latencies)?,
                plots::histograms(&report.latencies)?,
                plots::jitter(&report.latencies)?,
            ],
        );
    }
    let tables = escaped(&text::report(report));
    let _ = write!(page, "<h2>All figures</h2>\n<pre>{tables}</pre>\n</html>\n");
    Ok(page)
}

fn section(page: &mut String, title: &str, about: &str, pictures: &[String]) {
    let _ = write!(page, "<h2>{title}</h2>\n<p>{about}</p>\n");
    for picture in pictures {
        page.push_str(picture);
        page.push('\n');
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::latency::{self, Surrounding};

    /// A report without operations, read as an earlier run's would be.
    fn report() -> Report {
        let mut report: Report = serde_json::from_str(
            r#"{"format": 1, "operations": [], "latencies": [], "sites": [], "idle": [], "footprint": null, "touch": null,
                "workloads": [{"name": "workload.a", "title": "a < b", "native": 10, "guests": [11, 25, 50],
                "overhead": [10.0, 25.0, 25.0]}]}"#,
        )
        .unwrap();
        let series: Vec<u32> = (1..=50).collect();
        report.latencies.push(latency::Row {
            name: Surrounding::Alone.name().into(),
            title: "alone".into(),
            samples: 50,
            least: 1,
            median: 25,
            p99: 50,
            p999: 50,
            most: 50,
            missed: 0,
            series,
        });
        report
    }

    #[test]
    fn a_page_has_its_plots_and_needs_no_other_file() {
        let page = page(&report()).unwrap();
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("Workloads") && !page.contains("<h2>Operations"));
        assert!(page.contains("a &lt; b") && !page.contains("a < b"));
        for outside in ["src=", "<link", "<script", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        let uses_of_net = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(uses_of_net, 0);
    }

    #[test]
    fn text_and_grid_follow_the_page() {
        let page = page(&report()).unwrap();
        for colour in ["#010203", "#040506"] {
            assert!(page.contains(&format!("[stroke=\"{colour}\"]")), "{colour} is replaced");
            assert!(page.matches(colour).count() > 2, "{colour} is used");
        }
    }
}
