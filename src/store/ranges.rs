//! Sets of numbers that mostly follow one another: sequence numbers, in millions.

use std::fmt;

/// Disjoint ranges, ascending, with both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

/// Ranges that are printed; how many more there are is said.
const SHOWN_MAX: usize = 20;

impl Ranges {
    /// The ranges of numbers in any order.
    pub(super) fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = numbers.collect();
        sorted.sort_unstable();
        let mut ranges = Self::default();
        sorted.into_iter().for_each(|number| ranges.push(number));
        ranges
    }

    /// Adds a number that is not below the last.
    pub(super) fn push(&mut self, number: u64) {
        self.extend(number, number);
    }

    /// Adds the numbers from `first` to `last`; `first` is not below the last one added.
    pub(super) fn extend(&mut self, first: u64, last: u64) {
        match self.0.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => self.0.push((first, last)),
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        let range = after.checked_sub(1).and_then(|place| self.0.get(place));
        range.is_some_and(|(_, last)| number <= *last)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first} to {last}")? }
        }
        let more = self.0.len().saturating_sub(SHOWN_MAX);
        if more > 0 { write!(f, " and {more} more ranges") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range() {
        let mut ranges = Ranges::default();
        [1, 2, 3, 7, 9, 10].into_iter().for_each(|number| ranges.push(number));
        assert_eq!(ranges.to_string(), "1 to 3, 7, 9 to 10");
        assert_eq!((ranges.count(), ranges.last()), (6, Some(10)));
        let inside: Vec<u64> = (0..12).filter(|number| ranges.contains(*number)).collect();
        assert_eq!(inside, [1, 2, 3, 7, 9, 10]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), inside);
        assert_eq!(ranges.parts().collect::<Vec<_>>(), [(1, 3), (7, 7), (9, 10)]);
    }
}
