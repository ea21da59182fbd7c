//! The tracks as a picture (SVG), for those who want to see one without opening a browser.
//!
//! A column of a picture is many instructions wide. Each row shows, column by column, what took most of that time, pale where a
//! vCPU had a part of it only; below a
//! vCPU's row stand marks for what happened in a column at all, a line for each kind.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use trace_records::Kind;

use super::chrome::name_of;
use super::timeline::{Cause, Span, Timeline, Track, What};
use crate::failure::{Failure, Kind as FailureKind};

const WIDTH: i32 = 1000;
const LEFT: i32 = 150;
const COLUMNS: usize = (WIDTH - LEFT - 20) as usize;
const TOP: i32 = 56;
const BAR: i32 = 22;
const MARK: i32 = 9;
const GAP: i32 = 14;
const FONT: (&str, u32) = ("sans-serif", 13);
const SMALL: (&str, u32) = ("sans-serif", 11);

const INK: RGBColor = RGBColor(0x33, 0x38, 0x40);
const GRID: RGBColor = RGBColor(0xd8, 0xdc, 0xe2);
const HYPERVISOR: RGBColor = RGBColor(0x33, 0x38, 0x40);
const IDLE: RGBColor = RGBColor(0xee, 0xf0, 0xf3);
const KERNEL: RGBColor = RGBColor(0x3f, 0x7f, 0xe0);
const PROGRAM: RGBColor = RGBColor(0x8f, 0xbc, 0xf4);
/// Domains on a CPU's row.
const DOMAINS: [RGBColor; 4] = [
    RGBColor(0xc2, 0x43, 0x7c),
    RGBColor(0x2a, 0x9d, 0x8f),
    RGBColor(0x8d, 0x6e, 0x63),
    RGBColor(0xb0, 0x7a, 0xd6),
];

/// Lines of marks below a vCPU.
const MARKS: [(&str, RGBColor); 5] = [
    ("calls", RGBColor(0x1f, 0x4f, 0xb0)),
    ("system calls", RGBColor(0x26, 0xb3, 0xd0)),
    ("exceptions", RGBColor(0xe0, 0x5a, 0x4f)),
    ("hidden faults", RGBColor(0xe0, 0x9f, 0x3e)),
    ("events, deadlines", RGBColor(0x7c, 0xa8, 0x2b)),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Draws everything between two times.
pub fn draw(timeline: &Timeline, domains: &[String], bounds_ns: (u64, u64)) -> Result<String, Failure> {
    let rows = Rows::of(timeline, bounds_ns);
    let height = TOP + rows.of.keys().map(|track| height_of(*track)).sum::<i32>() + 40;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        let drawn =
            paint(&area, &rows, domains, bounds_ns, height).and_then(|()| area.present().map_err(failed));
        drawn.map_err(|reason| {
            Failure::new(FailureKind::CheckFailed, format!("the picture cannot be drawn: {reason}"))
        })?;
    }
    Ok(svg)
}

const fn height_of(track: Track) -> i32 {
    match track {
        Track::Cpu(_) => BAR + GAP,
        Track::Vcpu(_) => BAR + MARKS.len() as i32 * MARK + GAP,
    }
}

/// What took the time of a column: colour by share of it.
type Shares = Vec<BTreeMap<(u8, u8, u8), u64>>;

/// A track's columns.
struct Row {
    shares: Shares,
    marks: [Vec<bool>; MARKS.len()],
}

struct Rows {
    /// Nanoseconds of a column.
    width: u64,
    of: BTreeMap<Track, Row>,
}

impl Rows {
    fn of(timeline: &Timeline, (first, last): (u64, u64)) -> Self {
        let width = (last - first) / COLUMNS as u64 + 1;
        let mut rows = Self { width, of: BTreeMap::new() };
        let column = |time: u64| (time.saturating_sub(first) / width) as usize;
        for span in &timeline.spans {
            let row = rows.row(span.track);
            for (at, share) in
                row.shares.iter_mut().enumerate().take(column(span.end_ns) + 1).skip(column(span.begin_ns))
            {
                let begin = first + at as u64 * width;
                let length = span.end_ns.min(begin + width).saturating_sub(span.begin_ns.max(begin));
                add(share, span, length);
            }
            if let Some(mark) = mark_of(span) {
                row.marks[mark][column(span.begin_ns)] = true;
            }
        }
        for instant in &timeline.instants {
            let mark = match instant.entry.kind {
                Kind::BatchedCall => 0,
                Kind::HiddenFault => 3,
                Kind::Upcall | Kind::Deadline => 4,
                _ => continue,
            };
            rows.row(instant.track).marks[mark][column(instant.entry.time_ns)] = true;
        }
        let cpus = rows.of.iter_mut().filter(|(track, _)| matches!(track, Track::Cpu(_)));
        cpus.flat_map(|(_, row)| &mut row.shares).for_each(|share| take_off_visits(share, width));
        rows
    }

    fn row(&mut self, track: Track) -> &mut Row {
        self.of.entry(track).or_insert_with(|| Row {
            shares: vec![BTreeMap::new(); COLUMNS],
            marks: std::array::from_fn(|_| vec![false; COLUMNS]),
        })
    }
}

/// A CPU's runs contain visits, so there is more than the column is wide: that much is not the guest's.
fn take_off_visits(share: &mut BTreeMap<(u8, u8, u8), u64>, width: u64) {
    let too_much = share.values().sum::<u64>().saturating_sub(width);
    let is_domain =
        |colour: &(u8, u8, u8)| DOMAINS.iter().any(|domain| (domain.0, domain.1, domain.2) == *colour);
    let run = share.iter_mut().filter(|(colour, _)| is_domain(colour)).max_by_key(|(_, length)| **length);
    if let Some((_, length)) = run {
        *length = length.saturating_sub(too_much);
    }
}

/// Adds a span's part of a column.
fn add(share: &mut BTreeMap<(u8, u8, u8), u64>, span: &Span, length: u64) {
    let colour = match (span.track, span.what) {
        (Track::Cpu(_), What::Run { vcpu: (domain, _), .. }) => domain_colour(domain),
        (_, What::Visit(_)) => HYPERVISOR,
        (_, What::Idle) => IDLE,
        (_, What::Kernel(_)) => KERNEL,
        (_, What::Program(_)) => PROGRAM,
        (Track::Vcpu(_), What::Run { .. }) => return,
    };
    *share.entry((colour.0, colour.1, colour.2)).or_default() += length;
}

const fn domain_colour(domain: u16) -> RGBColor {
    DOMAINS[domain as usize % DOMAINS.len()]
}

fn mark_of(span: &Span) -> Option<usize> {
    match span.what {
        What::Visit(Cause::Call { .. }) => Some(0),
        What::Visit(Cause::SystemCall { .. }) => Some(1),
        What::Visit(Cause::Exception { .. }) => Some(2),
        _ => None,
    }
}

fn text(font: (&'static str, u32), horizontal: HPos) -> TextStyle<'static> {
    font.into_font().color(&INK).pos(Pos::new(horizontal, VPos::Center))
}

fn paint(
    area: &Area<'_>,
    rows: &Rows,
    domains: &[String],
    (first, last): (u64, u64),
    height: i32,
) -> Result<(), String> {
    area.fill(&WHITE).map_err(failed)?;
    legend(area, rows, domains)?;
    grid(area, (first, last), height)?;
    let mut top = TOP;
    for (track, row) in &rows.of {
        let label = match track {
            Track::Cpu(cpu) => format!("CPU {cpu}"),
            Track::Vcpu((domain, vcpu)) => format!("{}, vCPU {vcpu}", name_of(*domain, domains)),
        };
        area.draw(&Text::new(label, (LEFT - 10, top + BAR / 2), text(FONT, HPos::Right))).map_err(failed)?;
        let colours: Vec<_> = row.shares.iter().map(|share| colour_of(share, rows.width)).collect();
        bars(area, top, BAR, &colours)?;
        if let Track::Vcpu(_) = track {
            for (place, (marks, (_, colour))) in (0..).zip(row.marks.iter().zip(MARKS)) {
                let colour = (colour.0, colour.1, colour.2);
                let columns: Vec<_> = marks.iter().map(|is_set| is_set.then_some(colour)).collect();
                bars(area, top + BAR + 2 + place * MARK, MARK - 2, &columns)?;
            }
        }
        top += height_of(*track);
    }
    Ok(())
}

/// What took most of a column; the paler, the less of the column it was.
fn colour_of(share: &BTreeMap<(u8, u8, u8), u64>, width: u64) -> Option<(u8, u8, u8)> {
    /// Few enough that columns that are alike become one rectangle.
    const SHADES: u64 = 4;
    let (&(red, green, blue), _) = share.iter().max_by_key(|(_, length)| **length)?;
    let shade = (share.values().sum::<u64>() * SHADES).div_ceil(width).clamp(1, SHADES);
    let pale = |part: u8| 255 - ((255 - u64::from(part)) * shade / SHADES) as u8;
    Some((pale(red), pale(green), pale(blue)))
}

/// One rectangle for each stretch of columns of the same colour.
fn bars(area: &Area<'_>, top: i32, height: i32, columns: &[Option<(u8, u8, u8)>]) -> Result<(), String> {
    let mut at = 0;
    for stretch in columns.chunk_by(|a, b| a == b) {
        let end = at + stretch.len() as i32;
        if let Some((red, green, blue)) = stretch[0] {
            let corners = [(LEFT + at, top), (LEFT + end, top + height)];
            let filled = RGBColor(red, green, blue).filled();
            area.draw(&Rectangle::new(corners, filled)).map_err(failed)?;
        }
        at = end;
    }
    Ok(())
}

fn legend(area: &Area<'_>, rows: &Rows, domains: &[String]) -> Result<(), String> {
    let mut entries: Vec<(String, RGBColor)> = Vec::new();
    for track in rows.of.keys() {
        if let Track::Vcpu((domain, _)) = track {
            entries.push((name_of(*domain, domains), domain_colour(*domain)));
        }
    }
    let parts = [("hypervisor", HYPERVISOR), ("idle", IDLE), ("kernel", KERNEL), ("program", PROGRAM)];
    entries.extend(parts.map(|(word, colour)| (word.to_owned(), colour)));
    let lines = [entries, MARKS.map(|(word, colour)| (word.to_owned(), colour)).to_vec()];
    for (y, line) in [12, 30].into_iter().zip(lines) {
        let mut left = LEFT;
        for (words, colour) in line {
            area.draw(&Rectangle::new([(left, y - 5), (left + 10, y + 5)], colour.filled()))
                .map_err(failed)?;
            let width = words.len() as i32 * 7;
            area.draw(&Text::new(words, (left + 16, y), text(SMALL, HPos::Left))).map_err(failed)?;
            left += 36 + width;
        }
    }
    Ok(())
}

/// Lines at round times, with the time in milliseconds.
fn grid(area: &Area<'_>, (first, last): (u64, u64), height: i32) -> Result<(), String> {
    const MOST_LINES: u64 = 10;
    let length = (last - first).max(1);
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)));
    let step = steps.take(54).find(|step| length / step <= MOST_LINES).unwrap_or(length);
    let mut time = first.next_multiple_of(step);
    while time <= last {
        let x = LEFT + ((time - first) as f64 / length as f64 * COLUMNS as f64) as i32;
        area.draw(&PathElement::new([(x, TOP - 8), (x, height - 30)], GRID)).map_err(failed)?;
        let label = format!("{} ms", time as f64 / 1e6);
        area.draw(&Text::new(label, (x, height - 18), text(SMALL, HPos::Center))).map_err(failed)?;
        time += step;
    }
    Ok(())
}
