//! Randomness that repeats: the same seed gives the same test.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts at a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("below a usize")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// That many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.number().to_le_bytes()).take(len.div_ceil(8));
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        bytes
    }
}

/// The seeds of a test: `SEED=n` alone, else `0..count`. `ROUNDS=n` sets another count.
///
/// # Panics
/// When the variables are no numbers.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    seeds_of("ROUNDS", count)
}

/// The same, with another variable for another count.
///
/// # Panics
/// When the variables are no numbers.
#[must_use]
pub fn seeds_of(rounds: &str, count: u64) -> Vec<u64> {
    let variable = |name: &str| {
        std::env::var(name).ok().map(|value| value.parse().expect("SEED and counts are numbers"))
    };
    match variable("SEED") {
        Some(seed) => vec![seed],
        None => (0..variable(rounds).unwrap_or(count)).collect(),
    }
}
