//! Chosen bytes: `SplitMix64`, which is tiny, well spread and the same on every machine.

/// A stream of bytes from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Stream(u64);

/// Two numbers made into one, such that neither can be told from the result.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut stream = Stream(a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b);
    stream.next();
    stream.next()
}

/// A number made from bytes (FNV-1a, then mixed).
pub(crate) fn digest(seed: u64, bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(seed, bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Puts `items` into an order of its choice.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let choice = self.next() % (last as u64 + 1);
            items.swap(last, usize::try_from(choice).expect("below a length"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        let bytes = |seed| Stream::new(seed).bytes(20);
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
        assert_eq!(bytes(1).len(), 20);
        assert_eq!(
            Stream::new(0).next(),
            0xe220_a839_7b1d_cdaf,
            "published first value"
        );
    }

    #[test]
    fn shuffling_keeps_the_items() {
        let mut items: Vec<u32> = (0..50).collect();
        Stream::new(7).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
