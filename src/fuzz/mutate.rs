//! Mutations: a few small changes to an input of the corpus, by a seeded stream of chance.

/// xorshift64*: fast, and good enough to choose with.
#[derive(Debug, Clone)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 |= u64::from(self.0 == 0);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }
}

/// Bytes that mean something to some parser.
const TELLING: &[u8] =
    b"\0\x01\x7f\x80\xff\xfe\xe1\xc3\xa9 \t\r\n\"'\\{}[](),;:.=&%+-/?#@!*<>0199azAZ_~$`|^";
/// Texts that mean something to most.
const COMMON: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "NaN",
    "%00",
    "%2f",
    "%",
    "\u{feff}",
    "\u{202e}",
    "𝄞",
    "\r\n",
    "\r\n\r\n",
    "[[",
    "{{{{",
    "....",
    "==",
    "AAAA",
];

/// Makes inputs.
pub(super) struct Mutator<'w> {
    pub(super) rng: Rng,
    /// Texts that mean something to the target.
    pub(super) words: &'w [&'w str],
    pub(super) longest: usize,
}

impl Mutator<'_> {
    /// A new input out of the corpus.
    pub(super) fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus.get(self.rng.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..=self.rng.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(self.longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.rng.below(input.len() + 1);
        match self.rng.below(10) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.rng.below(8);
                }
            }
            1 => {
                let new = self.rng.byte();
                if let Some(byte) = input.get_mut(at) {
                    *byte = new;
                }
            }
            2 => input.insert(at, TELLING[self.rng.below(TELLING.len())]),
            3 => {
                let end = (at + 1 + self.rng.below(8)).min(input.len());
                input.drain(at..end);
            }
            4 => input.truncate(at),
            5 => {
                // A piece of it again, up to many times.
                let end = (at + 1 + self.rng.below(16)).min(input.len());
                let times = if self.rng.below(8) == 0 { 200 } else { 1 };
                let piece = input[at..end].repeat(times);
                input.splice(at..at, piece);
            }
            6 => {
                // The rest of another input.
                let other = &corpus[self.rng.below(corpus.len())];
                let from = self.rng.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => self.put_word(input, at, COMMON),
            _ => self.put_word(input, at, self.words),
        }
    }

    /// Puts a word in, or over what is there.
    fn put_word(&mut self, input: &mut Vec<u8>, at: usize, words: &[&str]) {
        let Some(word) = words.get(self.rng.below(words.len())) else { return };
        let over = if self.rng.below(2) == 0 { word.len() } else { 0 };
        let end = (at + over).min(input.len());
        input.splice(at..end, word.bytes());
    }
}
