//! What files hold: a word for each offset, so that any read can be checked.
//!
//! No two blocks, files or runs share one, so that deduplication and compression gain nothing.

const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bytes between the words that a sampling check looks at.
const SAMPLE_BYTES: usize = 4096;

/// The content of one file in one version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern(pub(crate) u64);

impl Pattern {
    /// What is written to the same place the next time.
    pub(crate) fn lap(self, lap: u32) -> Self {
        Self(self.0 ^ u64::from(lap) << 48)
    }

    fn word(self, offset: u64) -> u64 {
        let mixed = (offset ^ self.0).wrapping_mul(SPREAD);
        mixed ^ mixed >> 29
    }

    /// Fills bytes that belong at an offset; both multiples of 8.
    pub(crate) fn fill(self, offset: u64, bytes: &mut [u8]) {
        for (at, word) in (offset..).step_by(8).zip(bytes.chunks_exact_mut(8)) {
            word.copy_from_slice(&self.word(at).to_le_bytes());
        }
    }

    /// Whether bytes are those of an offset: every one, or a word of each page.
    pub(crate) fn holds(self, offset: u64, bytes: &[u8], every: bool) -> bool {
        let is_right = |at: usize| bytes[at..at + 8] == self.word(offset + at as u64).to_le_bytes();
        let stride = if every { 8 } else { SAMPLE_BYTES };
        (0..bytes.len()).step_by(stride).all(is_right) && is_right(bytes.len() - 8)
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(SPREAD);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_sees_other_bytes_other_places_and_other_versions() {
        let (pattern, mut bytes) = (Pattern(7), vec![0; 64 * 1024]);
        pattern.fill(8192, &mut bytes);
        for every in [true, false] {
            assert!(pattern.holds(8192, &bytes, every));
            assert!(!pattern.holds(4096, &bytes, every));
            assert!(!pattern.lap(1).holds(8192, &bytes, every));
            assert!(!Pattern(8).holds(8192, &bytes, every));
        }
        bytes[12345] ^= 1;
        assert!(!pattern.holds(8192, &bytes, true));
        // A page that was not written is seen by sampling too.
        bytes[16384..20480].fill(0);
        assert!(!pattern.holds(8192, &bytes, false));
    }
}
