//! `--baseline`: what changed since an earlier run.

use super::report::{Figure, Report};
use super::text::align;

/// A line for each figure that is not as it was, and for what is in one of both only.
pub fn text(before: &Report, after: &Report) -> String {
    let rows = rows(&before.figures(), &after.figures());
    if rows.is_empty() {
        return "every figure is as in the baseline\n".into();
    }
    let heading = ["changed", "", "baseline", "now", "by"].map(str::to_owned).to_vec();
    align(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), 2)
}

fn rows(before: &[Figure], after: &[Figure]) -> Vec<Vec<String>> {
    let find = |figures: &[Figure], figure: &Figure| {
        figures.iter().find(|other| (&other.name, &other.what) == (&figure.name, &figure.what)).cloned()
    };
    let mut rows = Vec::new();
    for figure in after {
        match find(before, figure) {
            Some(old) if old.value == figure.value => {}
            old => rows.push(row(figure, old.map(|old| old.value), Some(figure.value))),
        }
    }
    // What was not selected this time is no change; what vanished from what was selected is.
    let measured_again = |old: &Figure| after.iter().any(|figure| figure.name == old.name);
    let gone = before.iter().filter(|old| measured_again(old) && find(after, old).is_none());
    rows.extend(gone.map(|old| row(old, Some(old.value), None)));
    rows
}

fn row(figure: &Figure, before: Option<f64>, after: Option<f64>) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| value.to_string());
    let change = match (before, after) {
        (Some(before), Some(after)) if before != 0.0 => {
            format!("{:+.1} %", (after / before - 1.0) * 100.0)
        }
        (Some(_), Some(after)) => format!("{after:+}"),
        (None, _) => "new".into(),
        (_, None) => "gone".into(),
    };
    vec![figure.name.clone(), figure.what.clone(), number(before), number(after), change]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, what: &str, value: f64) -> Figure {
        Figure { name: name.into(), what: what.into(), value }
    }

    #[test]
    fn changes_are_told_and_nothing_else() {
        let before =
            [figure("a", "x", 100.0), figure("a", "y", 1.0), figure("b", "x", 5.0), figure("a", "z", 0.0)];
        let after = [figure("a", "x", 90.0), figure("a", "w", 2.0), figure("a", "z", 3.0)];
        let rows = rows(&before, &after);
        let told: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
        assert_eq!(told, ["a x 100 90 -10.0 %", "a w - 2 new", "a z 0 3 +3", "a y 1 - gone"]);
        assert!(super::rows(&before, &before).is_empty());
    }
}
