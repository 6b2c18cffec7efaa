//! Which places of two sequences belong together, in time that does not explode.
//!
//! The diff algorithms of `similar` are exact and quadratic where everything moved, and with a
//! deadline they answer differently on a slower machine. This is the patience idea alone: what
//! stands once in both sequences is an anchor, anchors in ascending order divide the sequences,
//! and the parts are looked at again.

use std::collections::HashMap;
use std::ops::Range;

/// Equal elements at `(left, right)`, ascending in both.
pub(super) type Pairs = Vec<(usize, usize)>;

/// Pairs elements up. `grams` says how many neighbours must be equal for an anchor, for each round;
/// `worth` which of them are telling enough. The element 0 equals nothing.
pub(super) fn pairs(
    left: &[u32],
    right: &[u32],
    grams: &[usize],
    worth: &dyn Fn(&[u32]) -> bool,
) -> Pairs {
    let mut found = Pairs::new();
    let mut open = vec![(0..left.len(), 0..right.len(), 0)];
    while let Some((mut one, mut two, round)) = open.pop() {
        let equal = |i: usize, j: usize| left[i] == right[j] && left[i] != 0;
        while !one.is_empty() && !two.is_empty() && equal(one.start, two.start) {
            found.push((one.start, two.start));
            (one.start, two.start) = (one.start + 1, two.start + 1);
        }
        while !one.is_empty() && !two.is_empty() && equal(one.end - 1, two.end - 1) {
            (one.end, two.end) = (one.end - 1, two.end - 1);
            found.push((one.end, two.end));
        }
        let Some(gram) = grams.get(round) else {
            continue;
        };
        if one.is_empty() || two.is_empty() {
            continue;
        }
        let anchors = ascending(&unique(left, &one, right, &two, *gram, worth));
        let (mut i, mut j) = (one.start, two.start);
        for (a, b) in anchors {
            open.push((i..a, j..b, round + 1));
            (i, j) = (a, b);
        }
        open.push((i..one.end, j..two.end, round + 1));
    }
    found.sort_unstable();
    found
}

/// Where `gram` neighbours stand that occur once in each range, by their place on the left.
fn unique(
    left: &[u32],
    one: &Range<usize>,
    right: &[u32],
    two: &Range<usize>,
    gram: usize,
    worth: &dyn Fn(&[u32]) -> bool,
) -> Pairs {
    struct Seen {
        left: usize,
        right: Option<usize>,
        often: bool,
    }
    let mut seen: HashMap<&[u32], Seen> = HashMap::new();
    for (at, window) in left[one.clone()].windows(gram).enumerate() {
        if !window.contains(&0) && worth(window) {
            let first = Seen {
                left: one.start + at,
                right: None,
                often: false,
            };
            seen.entry(window)
                .and_modify(|seen| seen.often = true)
                .or_insert(first);
        }
    }
    for (at, window) in right[two.clone()].windows(gram).enumerate() {
        if let Some(seen) = seen.get_mut(window) {
            seen.often |= seen.right.is_some();
            seen.right = Some(two.start + at);
        }
    }
    let mut found: Pairs = seen
        .into_values()
        .filter(|seen| !seen.often)
        .filter_map(|seen| Some((seen.left, seen.right?)))
        .collect();
    found.sort_unstable();
    found
}

/// The longest part of `pairs` (sorted by their left) that ascends on the right too.
fn ascending(pairs: &[(usize, usize)]) -> Pairs {
    // `tails[n]` ends the best chain of n + 1 pairs; `before` leads back along each chain.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, (_, right)) in pairs.iter().enumerate() {
        let length = tails.partition_point(|tail| pairs[*tail].1 < *right);
        before.push(length.checked_sub(1).map(|last| tails[last]));
        match tails.get_mut(length) {
            Some(tail) => *tail = at,
            None => tails.push(at),
        }
    }
    let mut chain = Pairs::new();
    let mut next = tails.last().copied();
    while let Some(at) = next {
        chain.push(pairs[at]);
        next = before[at];
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(left: &[u32], right: &[u32]) -> Pairs {
        pairs(left, right, &[1, 1], &|_| true)
    }

    #[test]
    fn equal_sequences_pair_up_whole() {
        assert_eq!(all(&[1, 2, 1], &[1, 2, 1]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(all(&[], &[1]), []);
        assert_eq!(all(&[0, 0], &[0, 0]), [], "0 equals nothing");
    }

    #[test]
    fn anchors_ascend_and_let_the_rest_go() {
        assert_eq!(all(&[9, 1, 2, 3, 8], &[7, 2, 3, 1, 6]), [(2, 1), (3, 2)]);
    }

    #[test]
    fn a_shuffle_of_many_ends_soon() {
        let left: Vec<u32> = (1..20_000).collect();
        let right: Vec<u32> = left.iter().rev().copied().collect();
        assert_eq!(all(&left, &right).len(), 1);
    }

    #[test]
    fn grams_must_be_worth_it() {
        let found = pairs(&[5, 1, 2, 6], &[7, 1, 2, 8], &[2], &|_| false);
        assert_eq!(found, []);
        let found = pairs(&[5, 1, 2, 6], &[7, 1, 2, 8], &[2], &|_| true);
        assert_eq!(found, [(1, 1), (2, 2)]);
    }
}
