//! Names that resemble one that does not exist.

/// At most three of `names` that could be meant by `word`, nearest first.
pub(crate) fn similar<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const SHOWN: usize = 3;
    let word = word.to_lowercase();
    // One slip in four letters, but never so many that everything resembles everything.
    let allowed = (word.chars().count() / 4).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = distance(&word, &lower);
            let inside = word.len() >= 3 && (lower.contains(&word) || word.contains(&lower));
            (distance <= allowed || inside).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

/// How many letters must be put in, left out or changed to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_letters() {
        assert_eq!(distance("web-1", "web-1"), 0);
        assert_eq!(distance("web-1", "wbe-1"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_what_could_be_meant_is_named_nearest_first() {
        let names = ["web-10", "db-1", "web-1", "mail"];
        assert_eq!(similar("web-2", names), ["web-1"]);
        assert_eq!(similar("web", names), ["web-1", "web-10"]);
        assert!(similar("zzz", names).is_empty());
    }
}
