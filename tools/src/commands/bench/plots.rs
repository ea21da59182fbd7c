//! The plots of the report, as SVG.
//!
//! Colours for lines and bars are of middle brightness and fit light and dark pages. What has to follow the page, text and
//! grid, is drawn in two colours that occur nowhere else; the page's style replaces them.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::latency;
use super::machines::broken;
use super::operations;
use super::workloads::{self, CROWDS};
use crate::failure::Failure;

/// Stands for the page's text colour.
pub const INK: RGBColor = RGBColor(1, 2, 3);
/// Stands for the page's grid colour.
pub const GRID: RGBColor = RGBColor(4, 5, 6);

/// Bare machine, guest, others.
const NATIVE: RGBColor = RGBColor(0x2a, 0x9d, 0x8f);
const GUEST: RGBColor = RGBColor(0x3f, 0x7f, 0xe0);
const XEN: RGBColor = RGBColor(0xb0, 0x7a, 0xd6);
const BUDGET: RGBColor = RGBColor(0xe0, 0x5a, 0x4f);
const SERIES: [RGBColor; 4] = [NATIVE, GUEST, RGBColor(0xe0, 0x9f, 0x3e), BUDGET];
/// One, two, four guests.
const CROWD_COLOURS: [RGBColor; 3] = [GUEST, XEN, RGBColor(0xe0, 0x9f, 0x3e)];

const WIDTH: u32 = 1000;
const FONT: (&str, u32) = ("sans-serif", 13);
const SMALL: (&str, u32) = ("sans-serif", 11);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on an area of this height and returns the SVG.
fn draw(height: u32, paint: impl Fn(&Area<'_>) -> Result<(), String>) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        paint(&area).map_err(|reason| broken(format!("a plot cannot be drawn: {reason}")))?;
        area.present().map_err(|error| broken(format!("a plot cannot be drawn: {error}")))?;
    }
    // As wide as the page.
    Ok(svg.replacen("<svg ", "<svg role=\"img\" ", 1))
}

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text(font: (&'static str, u32), horizontal: HPos) -> TextStyle<'static> {
    font.into_font().color(&INK).pos(Pos::new(horizontal, VPos::Center))
}

/// Coloured squares with words, from the left.
fn legend(area: &Area<'_>, at: (i32, i32), entries: &[(RGBColor, &str)]) -> Result<(), String> {
    let mut left = at.0;
    for (colour, words) in entries {
        let square = [(left, at.1 - 5), (left + 10, at.1 + 5)];
        area.draw(&Rectangle::new(square, colour.filled())).map_err(failed)?;
        area.draw(&Text::new(*words, (left + 16, at.1), text(FONT, HPos::Left))).map_err(failed)?;
        left += 40 + words.len() as i32 * 7;
    }
    Ok(())
}

/// Bars for each operation: bare machine, guest, Xen; a line where the budget ends. The scale is logarithmic.
pub fn operations(rows: &[operations::Row]) -> Result<String, Failure> {
    const ROW: i32 = 34;
    const TOP: i32 = 50;
    const LEFT: i32 = 330;
    const RIGHT: i32 = WIDTH as i32 - 60;
    let rows: Vec<_> = rows.iter().filter(|row| row.must.is_some_and(|must| must > 3)).collect();
    let most = rows.iter().filter_map(|row| row.guest.as_ref()).map(operations::Measured::each);
    let most = most.chain(rows.iter().filter_map(|row| row.xen.map(f64::from))).fold(1000.0, f64::max);
    let scale = f64::from(RIGHT - LEFT) / (most * 1.1).log10();
    // One instruction is where the scale begins.
    let x = move |value: f64| LEFT + (value.max(1.0).log10() * scale) as i32;
    draw((TOP + ROW * rows.len() as i32 + 20) as u32, |area| {
        let entries = [(NATIVE, "bare machine"), (GUEST, "guest"), (XEN, "Xen 4.17 PV"), (BUDGET, "budget")];
        legend(area, (LEFT, 14), &entries)?;
        let bottom = TOP + ROW * rows.len() as i32;
        for tick in [1, 10, 100, 1000, 10_000].into_iter().filter(|tick| f64::from(*tick) <= most * 1.1) {
            let at = x(f64::from(tick));
            area.draw(&PathElement::new([(at, TOP - 8), (at, bottom)], GRID)).map_err(failed)?;
            area.draw(&Text::new(tick.to_string(), (at, TOP - 16), text(SMALL, HPos::Center)))
                .map_err(failed)?;
        }
        let heading = Text::new("guest", (RIGHT + 8, TOP - 16), text(SMALL, HPos::Left));
        area.draw(&heading).map_err(failed)?;
        for (index, row) in rows.iter().enumerate() {
            let y = TOP + ROW * index as i32;
            area.draw(&Text::new(row.title.clone(), (LEFT - 10, y + 12), text(FONT, HPos::Right)))
                .map_err(failed)?;
            let each = |measured: &Option<operations::Measured>| measured.as_ref().map(|one| one.each());
            let bars =
                [(each(&row.native), NATIVE), (each(&row.guest), GUEST), (row.xen.map(f64::from), XEN)];
            for (place, (value, colour)) in (0..).zip(bars) {
                let Some(value) = value else { continue };
                let top = y + place * 8;
                let bar = Rectangle::new([(LEFT, top), (x(value).max(LEFT + 2), top + 7)], colour.filled());
                area.draw(&bar).map_err(failed)?;
            }
            if let Some(must) = row.must {
                let at = x(f64::from(must));
                let line = PathElement::new([(at, y - 2), (at, y + 26)], BUDGET.stroke_width(2));
                area.draw(&line).map_err(failed)?;
            }
            if let Some(guest) = &row.guest {
                let label = Text::new(guest.text(), (RIGHT + 8, y + 12), text(SMALL, HPos::Left));
                area.draw(&label).map_err(failed)?;
            }
        }
        Ok(())
    })
}

/// Overheads of each workload for one, two and four guests.
pub fn workloads(rows: &[workloads::Row]) -> Result<String, Failure> {
    const ROW: i32 = 48;
    const TOP: i32 = 50;
    const LEFT: i32 = 240;
    const RIGHT: i32 = WIDTH as i32 - 80;
    let most = rows.iter().flat_map(|row| &row.overhead).copied().fold(50.0, f64::max);
    let step = [10.0, 25.0, 50.0, 100.0, 250.0, 500.0].into_iter().find(|step| most / step <= 8.0);
    let step: f64 = step.unwrap_or(1000.0);
    let x = move |percent: f64| LEFT + (percent.max(0.0) / most * f64::from(RIGHT - LEFT)) as i32;
    draw((TOP + ROW * rows.len() as i32 + 20) as u32, |area| {
        let names = CROWDS.map(|count| match count {
            1 => "one guest",
            2 => "two guests",
            _ => "four guests",
        });
        let entries: Vec<_> = CROWD_COLOURS.into_iter().zip(names).collect();
        legend(area, (LEFT, 14), &entries)?;
        let bottom = TOP + ROW * rows.len() as i32;
        let mut tick = 0.0;
        while tick <= most {
            area.draw(&PathElement::new([(x(tick), TOP - 8), (x(tick), bottom)], GRID)).map_err(failed)?;
            let label = Text::new(format!("{tick} %"), (x(tick), TOP - 16), text(SMALL, HPos::Center));
            area.draw(&label).map_err(failed)?;
            tick += step;
        }
        for (index, row) in rows.iter().enumerate() {
            let y = TOP + ROW * index as i32;
            area.draw(&Text::new(row.title.clone(), (LEFT - 10, y + 18), text(FONT, HPos::Right)))
                .map_err(failed)?;
            for (place, (overhead, colour)) in (0..).zip(row.overhead.iter().zip(CROWD_COLOURS)) {
                let top = y + place * 12;
                let end = x(*overhead).max(LEFT + 2);
                area.draw(&Rectangle::new([(LEFT, top), (end, top + 11)], colour.filled()))
                    .map_err(failed)?;
                let label =
                    Text::new(format!("{overhead:.1} %"), (end + 6, top + 6), text(SMALL, HPos::Left));
                area.draw(&label).map_err(failed)?;
            }
        }
        Ok(())
    })
}

/// The grid of a chart, still to be told how its axes are labelled.
macro_rules! mesh {
    ($chart:ident) => {
        $chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(text(SMALL, HPos::Left).pos(Pos::default()))
    };
}

/// One of several charts below each other.
fn strip<'area, 'title, Backend: DrawingBackend>(
    area: &'area DrawingArea<Backend, Shift>,
    title: &'title str,
) -> ChartBuilder<'area, 'title, Backend> {
    let mut chart = ChartBuilder::on(area);
    chart
        .x_label_area_size(24)
        .y_label_area_size(50)
        .caption(title, text(FONT, HPos::Left).pos(Pos::default()));
    chart
}

/// What part of the releases is no later than so much: a line for each surrounding.
pub fn cumulative(rows: &[latency::Row]) -> Result<String, Failure> {
    let (least, most) = bounds(rows);
    draw(380, |area| {
        legend(area, (70, 14), &entries(rows))?;
        let area = area.margin(30, 10, 10, 20);
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d((least..most).log_scale(), 0.0..1.0)
            .map_err(failed)?;
        mesh!(chart)
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|part| format!("{:.0} %", part * 100.0))
            .x_desc("instructions from the release to the thread's first")
            .draw()
            .map_err(failed)?;
        for (row, colour) in rows.iter().zip(SERIES) {
            let mut sorted = row.series.clone();
            sorted.sort_unstable();
            let count = sorted.len() as f64;
            let mut points = vec![(f64::from(sorted[0]), 0.0)];
            for (index, value) in sorted.iter().enumerate() {
                let value = f64::from(*value);
                points.push((value, index as f64 / count));
                points.push((value, (index + 1) as f64 / count));
            }
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(failed)?;
        }
        Ok(())
    })
}

/// How many releases are how late: a histogram for each surrounding, on the same scale. Counts are logarithmic, so that
/// a single release is seen.
pub fn histograms(rows: &[latency::Row]) -> Result<String, Failure> {
    const BINS: usize = 80;
    let (least, most) = bounds(rows);
    draw(150 * rows.len() as u32 + 30, |area| {
        let parts = area.margin(5, 25, 10, 20).split_evenly((rows.len(), 1));
        for ((row, colour), part) in rows.iter().zip(SERIES).zip(parts) {
            let mut counts = [0_u32; BINS];
            let width = (most / least).ln() / BINS as f64;
            for value in &row.series {
                let bin = ((f64::from(*value).max(least) / least).ln() / width) as usize;
                counts[bin.min(BINS - 1)] += 1;
            }
            let highest = counts.iter().copied().max().unwrap_or(1).max(1);
            let mut chart = strip(&part, &row.title)
                .build_cartesian_2d((least..most).log_scale(), (0.5..f64::from(highest) * 1.5).log_scale())
                .map_err(failed)?;
            mesh!(chart)
                .x_label_formatter(&|value| format!("{value:.0}"))
                .y_label_formatter(&|count| format!("{count:.0}"))
                .y_labels(4)
                .draw()
                .map_err(failed)?;
            let edge = |bin: usize| least * (width * bin as f64).exp();
            let filled = (0..BINS).filter(|bin| counts[*bin] > 0);
            let bars = filled.map(|bin| {
                let corners = [(edge(bin), 0.5), (edge(bin + 1), f64::from(counts[bin]))];
                Rectangle::new(corners, colour.filled())
            });
            chart.draw_series(bars).map_err(failed)?;
        }
        Ok(())
    })
}

/// Each release's latency in order: a strip for each surrounding, on the same scale.
pub fn jitter(rows: &[latency::Row]) -> Result<String, Failure> {
    let (least, most) = bounds(rows);
    draw(150 * rows.len() as u32 + 30, |area| {
        let parts = area.margin(5, 25, 10, 20).split_evenly((rows.len(), 1));
        for ((row, colour), part) in rows.iter().zip(SERIES).zip(parts) {
            let mut chart = strip(&part, &row.title)
                .build_cartesian_2d(0.0..row.series.len() as f64, (least..most).log_scale())
                .map_err(failed)?;
            mesh!(chart)
                .x_label_formatter(&|number| format!("{number:.0} ms"))
                .y_label_formatter(&|value| format!("{value:.0}"))
                .y_labels(4)
                .draw()
                .map_err(failed)?;
            let points = (0..).zip(&row.series).map(|(number, value)| {
                let at = (f64::from(number), f64::from(*value).max(least));
                Circle::new(at, 1, colour.filled())
            });
            chart.draw_series(points).map_err(failed)?;
        }
        Ok(())
    })
}

fn entries(rows: &[latency::Row]) -> Vec<(RGBColor, &str)> {
    SERIES.into_iter().zip(rows.iter().map(|row| row.title.as_str())).collect()
}

/// The range that all latencies lie in, with some room.
fn bounds(rows: &[latency::Row]) -> (f64, f64) {
    let least = rows.iter().map(|row| row.least).min().unwrap_or(1).max(1);
    let most = rows.iter().map(|row| row.most).max().unwrap_or(1);
    (f64::from(least) * 0.8, f64::from(most.max(least)) * 1.25)
}
