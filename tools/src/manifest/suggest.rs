//! What somebody meant who wrote something else.

use toml::de::DeValue;

use super::schema::{Form, Key};

/// The key that was most likely meant by `name`: one that others call so, or one that looks like it.
pub(super) fn key(name: &str, value: &DeValue<'_>, keys: &'static [Key]) -> Option<&'static Key> {
    let name = plain(name).replace('-', "_");
    let is_alias = |key: &&Key| key.aliases.contains(&name.as_str());
    // `restart` is a word of `on_crash`, but a table by that name lies one level too high.
    let alias = keys.iter().find(is_alias).filter(|key| value.is_table() || key.form != Form::Table);
    alias.or_else(|| {
        let closest = closest(&name, keys.iter().map(|key| key.name))?;
        keys.iter().find(|key| key.name == closest)
    })
}

/// The word that looks most like `wrong`, if one does. Spaces around it and large letters do not count.
pub(super) fn closest<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = plain(wrong);
    let distances = words.into_iter().map(|word| (edit_distance(&wrong, &plain(word)), word));
    let (distance, right) = distances.min()?;
    // As rustc has it: a third of the word may differ.
    (distance <= wrong.chars().count().max(3) / 3).then_some(right)
}

fn plain(word: &str) -> String {
    word.trim().to_lowercase()
}

/// Insertions, deletions, replacements and exchanges of neighbours that turn one word into the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for line in 1..=one.len() {
        let mut row = vec![line];
        for column in 1..=other.len() {
            let same = one[line - 1] == other[column - 1];
            let replaced = rows[line - 1][column - 1] + usize::from(!same);
            let mut least = replaced.min(rows[line - 1][column] + 1).min(row[column - 1] + 1);
            let swapped = line > 1
                && column > 1
                && one[line - 1] == other[column - 2]
                && one[line - 2] == other[column - 1];
            if swapped {
                least = least.min(rows[line - 2][column - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("memory", "memory"), 0);
        assert_eq!(edit_distance("memroy", "memory"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("port", "sports"), 2);
    }

    #[test]
    fn words() {
        assert_eq!(closest("memroy", ["name", "memory"]), Some("memory"));
        assert_eq!(closest("gb", ["rt", "gp"]), Some("gp"));
        assert_eq!(closest("x", ["name", "memory"]), None);
        assert_eq!(closest("x", []), None);
        assert_eq!(closest("RT ", ["gp", "rt"]), Some("rt"));
    }

    #[test]
    fn keys() {
        let name = |wrong: &str| key(wrong, &DeValue::Boolean(true), schema::DEVICE.keys).map(|key| key.name);
        assert_eq!(name("irq"), Some("interrupt"));
        assert_eq!(name("IO-Ports"), Some("ports"));
        assert_eq!(name("interupt"), Some("interrupt"));
        assert_eq!(name("colour"), None);
    }
}
