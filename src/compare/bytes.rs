//! Where two byte strings differ, also where something was inserted.
//!
//! Metadata and sections are megabytes, so this is no minimal edit script: it walks both sides once
//! and, at a difference, looks for the nearest place where they agree again. The work is linear in
//! the size, whatever the input.

use std::ops::Range;

/// A stretch that differs: what stands on the left, and what stands there on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Bytes of the left side; empty where the right side has more.
    pub left: Range<usize>,
    /// Bytes of the right side.
    pub right: Range<usize>,
}

/// How far ahead agreement is looked for, step by step: most differences are small.
const WINDOWS: [usize; 4] = [32, 256, 4 << 10, 64 << 10];

/// So many equal bytes count as agreement.
const GRAM: usize = 8;

/// More regions than these say no more; the rest is one region.
const MAX_REGIONS: usize = 1 << 20;

/// Compared at once while everything is equal.
const BLOCK: usize = 4 << 10;

/// The stretches in which `left` and `right` differ, in order.
pub fn regions(left: &[u8], right: &[u8]) -> Vec<Region> {
    let mut found: Vec<Region> = Vec::new();
    let mut index = Vec::new();
    let (mut i, mut j) = (0, 0);
    loop {
        let same = common_prefix(&left[i..], &right[j..]);
        i += same;
        j += same;
        if i == left.len() && j == right.len() {
            return found;
        }
        let (mut skip_i, mut skip_j) = (left.len() - i, right.len() - j);
        if skip_i > 0 && skip_j > 0 && found.len() < MAX_REGIONS {
            (skip_i, skip_j) = resynchronize(&left[i..], &right[j..], &mut index);
        }
        match found.last_mut() {
            // Nothing agreed in between: one region.
            Some(last) if same == 0 => {
                last.left.end = i + skip_i;
                last.right.end = j + skip_j;
            }
            _ => found.push(Region {
                left: i..i + skip_i,
                right: j..j + skip_j,
            }),
        }
        i += skip_i;
        j += skip_j;
    }
}

/// How many bytes are equal from the start.
pub fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    let mut at = 0;
    while at + BLOCK <= length && left[at..at + BLOCK] == right[at..at + BLOCK] {
        at += BLOCK;
    }
    while at + 8 <= length && left[at..at + 8] == right[at..at + 8] {
        at += 8;
    }
    while at < length && left[at] == right[at] {
        at += 1;
    }
    at
}

/// How much to skip on both sides, which differ at their first byte, until they agree again.
fn resynchronize(left: &[u8], right: &[u8], index: &mut Vec<u32>) -> (usize, usize) {
    for window in WINDOWS {
        // Without insertion first: tables of numbers that all moved agree only in short runs.
        let straight = straight(left, right, window);
        if let Some((at, true)) = straight {
            return (at, at);
        }
        let shifted = shifted(left, right, window, index);
        match (straight, shifted) {
            (Some((at, _)), None) => return (at, at),
            (Some((at, _)), Some((i, j))) => {
                // Agreement that holds tells an insertion from a lucky hit.
                let one = common_prefix(&left[at..], &right[at..]);
                let other = common_prefix(&left[i..], &right[j..]);
                return if other > 2 * one { (i, j) } else { (at, at) };
            }
            (None, Some(place)) => return place,
            (None, None) => {}
        }
    }
    let last = WINDOWS[WINDOWS.len() - 1];
    (left.len().min(last), right.len().min(last))
}

/// The nearest agreement at equal distance, and whether it is beyond doubt.
fn straight(left: &[u8], right: &[u8], window: usize) -> Option<(usize, bool)> {
    let length = window.min(left.len()).min(right.len());
    let equal = |at: &usize| left[*at] == right[*at];
    let first = (1..length).find(equal)?;
    let hits = (1..length).filter(equal).count();
    // Half of the bytes: no accident, unless they are zeros, which agree anywhere.
    let nonzero = (1..length).filter(|at| equal(at) && left[*at] != 0).count();
    if length >= 16 && 2 * hits >= length && 8 * nonzero >= length {
        return Some((first, true));
    }
    let run = (1..length).find(|at| {
        let end = (at + GRAM).min(left.len()).min(right.len());
        end - at == GRAM && left[*at..end] == right[*at..end]
    })?;
    Some((run, false))
}

/// The agreement that skips least, at any distances below `window`.
fn shifted(
    left: &[u8],
    right: &[u8],
    window: usize,
    index: &mut Vec<u32>,
) -> Option<(usize, usize)> {
    // A table of 2 × window slots by hash; a collision only misses a place.
    let slots = (2 * window).next_power_of_two();
    index.clear();
    index.resize(slots, 0);
    let slot = |gram: u64| {
        let hash = gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        usize::try_from(hash).expect("24 bits") & (slots - 1)
    };
    for (j, gram) in grams(right).take(window).enumerate() {
        let entry = &mut index[slot(gram)];
        if *entry == 0 {
            *entry = u32::try_from(j + 1).expect("a window is small");
        }
    }
    let mut best: Option<(usize, usize)> = None;
    for (i, gram) in grams(left).take(window).enumerate() {
        if best.is_some_and(|(a, b)| i >= a + b) {
            break; // cannot skip less any more
        }
        let entry = index[slot(gram)];
        if entry == 0 || is_dull(gram) {
            continue;
        }
        let j = entry as usize - 1;
        if left[i..i + GRAM] == right[j..j + GRAM] && best.is_none_or(|(a, b)| i + j < a + b) {
            best = Some((i, j));
        }
    }
    best
}

fn grams(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .windows(GRAM)
        .map(|gram| u64::from_le_bytes(gram.try_into().expect("a window of eight")))
}

/// Padding and sparse tables agree with each other everywhere.
fn is_dull(gram: u64) -> bool {
    let bytes = gram.to_le_bytes();
    let zeros = bytes.map(|byte| u8::from(byte == 0)).iter().sum::<u8>();
    zeros >= 5 || bytes == [bytes[0]; GRAM]
}

/// Where a position of the left side stands on the right, by the regions between: nothing for one
/// inside a region.
pub fn moved(regions: &[Region], position: usize) -> Option<usize> {
    let after = regions.partition_point(|region| region.left.start <= position);
    match after.checked_sub(1).map(|last| &regions[last]) {
        None => Some(position),
        Some(region) if position < region.left.end => None,
        Some(region) => Some(position - region.left.end + region.right.end),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// The regions must account for every byte: outside them both sides are equal.
    fn check(left: &[u8], right: &[u8]) -> Vec<Region> {
        let found = regions(left, right);
        let (mut i, mut j) = (0, 0);
        for region in &found {
            assert_eq!(left[i..region.left.start], right[j..region.right.start]);
            assert!(!region.left.is_empty() || !region.right.is_empty());
            (i, j) = (region.left.end, region.right.end);
        }
        assert_eq!(left[i..], right[j..]);
        found
    }

    #[test]
    fn what_is_replaced_inserted_or_left_out_is_found() {
        let base = noise(10_000, 1);
        assert_eq!(check(&base, &base), []);
        let mut other = base.clone();
        other[5000] ^= 1;
        other[7000..7016].fill(0);
        let found = check(&base, &other);
        assert_eq!(found[0].left, 5000..5001);
        assert_eq!(found.len(), 2);
        let inserted = [&base[..3000], b"something new", &base[3000..]].concat();
        for found in [check(&base, &inserted), check(&inserted, &base)] {
            assert_eq!(found.len(), 1, "{found:?}");
        }
        let far = [&base[..3000], &noise(20_000, 9), &base[3000..]].concat();
        assert_eq!(check(&base, &far).len(), 1);
        check(&base, &[]);
        check(&[], &base);
        check(&base, &noise(9000, 3));
    }

    #[test]
    fn positions_move_with_what_is_inserted_before_them() {
        let base = noise(1000, 5);
        let inserted = [&base[..300], b"new", &base[300..]].concat();
        let found = check(&base, &inserted);
        assert_eq!(moved(&found, 100), Some(100));
        assert_eq!(moved(&found, 500), Some(503));
        let mut other = base.clone();
        other[500] ^= 1;
        assert_eq!(moved(&check(&base, &other), 500), None);
    }

    #[test]
    fn unlike_megabytes_take_no_quadratic_time() {
        let start = std::time::Instant::now();
        check(&noise(2_000_000, 1), &noise(2_100_000, 2));
        check(&vec![0; 3_000_000], &vec![1; 2_000_000]);
        // Generous: quadratic would take hours.
        assert!(start.elapsed().as_secs() < 60);
    }
}
