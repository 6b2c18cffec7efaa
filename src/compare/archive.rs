//! Which members two archives share, and which are new, gone, renamed or in another place.

use std::collections::BTreeMap;

use crate::artifact::Member;

/// How the members of two archives relate.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// How many members each has.
    pub counts: (usize, usize),
    /// How many are equal under their name.
    pub equal: usize,
    /// Members on the left only.
    pub removed: Vec<Member<'a>>,
    /// Members on the right only.
    pub added: Vec<Member<'a>>,
    /// Pairs of another name.
    pub renamed: Vec<Renamed<'a>>,
    /// All pairs with other content, renamed ones too.
    pub changed: Vec<(Member<'a>, Member<'a>)>,
    /// Whether the pairs stand in another order.
    pub reordered: bool,
}

/// A member that has another name on the right.
#[derive(Debug)]
pub struct Renamed<'a> {
    /// The name on the left.
    pub left: &'a [u8],
    /// The name on the right.
    pub right: &'a [u8],
    /// Whether the names differ only where rustc puts random characters (`-Cincremental`).
    pub random: bool,
}

/// Joins the members: by name, then by name without random parts, then by content.
pub fn compare<'a>(left: &[Member<'a>], right: &[Member<'a>]) -> Changes<'a> {
    let mut changes = Changes {
        counts: (left.len(), right.len()),
        ..Changes::default()
    };
    let mut partner: Vec<Option<usize>> = vec![None; left.len()];
    let mut taken = vec![false; right.len()];
    let mut join = |key: &dyn Fn(&Member<'a>) -> Option<Vec<u8>>| {
        let mut places: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (index, member) in right.iter().enumerate().rev() {
            if let (false, Some(key)) = (taken[index], key(member)) {
                places.entry(key).or_default().push(index);
            }
        }
        for (index, member) in left.iter().enumerate() {
            if partner[index].is_none()
                && let Some(key) = key(member)
                && let Some(other) = places.get_mut(&key).and_then(Vec::pop)
            {
                partner[index] = Some(other);
                taken[other] = true;
            }
        }
    };
    join(&|member| Some(member.name.to_vec()));
    join(&|member| Some(without_random(member.name)?.concat()));
    // The same object under a new name; a content of a few bytes says nothing.
    join(&|member| (member.data.len() >= 64).then(|| fingerprint(member.data)));
    let mut last = None;
    for (member, partner) in left.iter().zip(&partner) {
        let Some(other) = *partner else {
            changes.removed.push(*member);
            continue;
        };
        changes.reordered |= last.is_some_and(|last| other < last);
        last = Some(other);
        let other = right[other];
        if member.name != other.name {
            let random = without_random(member.name)
                .is_some_and(|parts| without_random(other.name) == Some(parts));
            changes.renamed.push(Renamed {
                left: member.name,
                right: other.name,
                random,
            });
        }
        if member.data == other.data {
            changes.equal += usize::from(member.name == other.name);
        } else {
            changes.changed.push((*member, other));
        }
    }
    let left_over = right.iter().zip(&taken).filter(|(_, taken)| !**taken);
    changes.added = left_over.map(|(member, _)| *member).collect();
    changes
}

/// Length and a few hashes of the content: equal contents have equal ones, and the join checks no
/// more than that because a chance hit only costs a comparison.
fn fingerprint(data: &[u8]) -> Vec<u8> {
    use std::hash::{DefaultHasher, Hasher as _};
    // Fixed keys: the same on every run.
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    let length = (data.len() as u64).to_le_bytes();
    [length, hasher.finish().to_le_bytes()].concat()
}

/// `memchr-m1.`, `0cls0uklzl3oiw10i8vho2bp9`, `.rcgu.o` of
/// `memchr-m1.0cls0uklzl3oiw10i8vho2bp9.1nkenss.rcgu.o`: an incremental compile names its objects
/// with a part that is random.
fn without_random(name: &[u8]) -> Option<[&[u8]; 2]> {
    let stem = name.strip_suffix(b".rcgu.o")?;
    let dot = stem.iter().rposition(|byte| *byte == b'.')?;
    let random = &stem[dot + 1..];
    let is_base36 = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = (5..=10).contains(&random.len()) && random.iter().all(is_base36);
    // What stands before it is the object's own name, of 25 such characters.
    let own = stem[..dot].rsplit(|byte| *byte == b'.').next()?;
    let incremental = own.len() >= 20 && own.iter().all(is_base36);
    (fits && incremental).then_some([&stem[..dot], b".rcgu.o"])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    const A: [u8; 80] = [1; 80];
    const B: [u8; 80] = [2; 80];

    fn member<'a>(name: &'a str, data: &'a [u8]) -> Member<'a> {
        Member {
            name: name.as_bytes(),
            offset: 0,
            data,
        }
    }

    #[test]
    fn members_are_joined_by_name_random_part_and_content() {
        let left = [
            member("lib.rmeta", &A),
            member("m.0cls0uklzl3oiw10i8vho2bp9.1nkenss.rcgu.o", &A),
            member("gone.o", &B[..4]),
            member("old.o", &B),
        ];
        let right = [
            member("lib.rmeta", &B),
            member("m.0cls0uklzl3oiw10i8vho2bp9.1aewjwg.rcgu.o", &A),
            member("new.o", &B),
        ];
        let changes = compare(&left, &right);
        assert_eq!(changes.changed.len(), 1);
        assert_eq!(changes.removed.len(), 1);
        assert_eq!(changes.removed[0].name, b"gone.o");
        assert!(changes.added.is_empty() && !changes.reordered);
        let random: Vec<_> = changes.renamed.iter().map(|r| r.random).collect();
        assert_eq!(random, [true, false]);
    }

    #[test]
    fn twins_are_paired_in_order_and_moves_are_seen() {
        let left = [member("a.o", &A), member("a.o", &B), member("b.o", &A)];
        let changes = compare(&left, &left);
        assert_eq!((changes.equal, changes.reordered), (3, false));
        let turned = [left[2], left[0], left[1]];
        let changes = compare(&left, &turned);
        assert_eq!((changes.equal, changes.reordered), (3, true));
    }
}
