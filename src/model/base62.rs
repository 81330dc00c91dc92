//! Base 62 of 20 bytes, as KSUIDs are written: `0-9A-Za-z`, 27 characters, big-endian.
//!
//! Our own, because every message writes three ids and reads one: the general package takes ten
//! times as long. A test holds it to that package.

use super::id::{ID_BYTES, ID_CHARS};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters that one division of the number yields.
const STEP: usize = 5;
/// `62^STEP`.
const STEP_BASE: u64 = 916_132_832;

/// The 27 characters of an id.
pub(super) fn encode(id: &[u8; ID_BYTES]) -> [u8; ID_CHARS] {
    let mut limbs = [0u32; ID_BYTES / 4];
    for (limb, bytes) in limbs.iter_mut().zip(id.chunks_exact(4)) {
        *limb = bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte));
    }
    let mut text = [b'0'; ID_CHARS];
    for chunk in text.rchunks_mut(STEP) {
        let mut rest = divide(&mut limbs);
        for place in chunk.iter_mut().rev() {
            // The remainder of a division by 62 is a place in the alphabet.
            *place = usize::try_from(rest % 62)
                .ok()
                .and_then(|at| ALPHABET.get(at))
                .copied()
                .unwrap_or(b'0');
            rest /= 62;
        }
    }
    text
}

/// Divides the number by [`STEP_BASE`]; gives the remainder.
fn divide(limbs: &mut [u32; ID_BYTES / 4]) -> u64 {
    let mut rest = 0u64;
    for limb in limbs {
        let whole = (rest << 32) | u64::from(*limb);
        // The remainder before is less than the base, so the quotient has 32 bits.
        *limb = u32::try_from(whole / STEP_BASE).unwrap_or(u32::MAX);
        rest = whole % STEP_BASE;
    }
    rest
}

/// The id of 27 characters; `None` for other characters and for what is too large for 20 bytes.
pub(super) fn decode(text: &[u8]) -> Option<[u8; ID_BYTES]> {
    if text.len() != ID_CHARS {
        return None;
    }
    let mut limbs = [0u32; ID_BYTES / 4];
    for character in text {
        let mut carry = u64::from(digit(*character)?);
        for limb in limbs.iter_mut().rev() {
            let whole = u64::from(*limb) * 62 + carry;
            *limb = u32::try_from(whole & u64::from(u32::MAX)).unwrap_or_default();
            carry = whole >> 32;
        }
        if carry > 0 {
            return None;
        }
    }
    let mut id = [0; ID_BYTES];
    for (bytes, limb) in id.chunks_exact_mut(4).zip(limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Some(id)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'Z' => Some(character - b'A' + 10),
        b'a'..=b'z' => Some(character - b'a' + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use svix_ksuid::{KsuidLike as _, KsuidMs};

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_published_package(id in any::<[u8; 20]>()) {
            let text = encode(&id);
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), KsuidMs::from_bytes(id).to_base62());
            prop_assert_eq!(decode(&text), Some(id));
        }

        #[test]
        fn reads_only_what_it_writes(text in "[0-9A-Za-z]{27}") {
            if let Some(id) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&id).to_vec(), text.into_bytes());
            }
        }
    }

    #[test]
    fn the_ends() {
        assert_eq!(decode(&encode(&[0; 20])), Some([0; 20]));
        assert_eq!(decode(&encode(&[255; 20])), Some([255; 20]));
        assert_eq!(decode(b"aWgEPTl1tmebfsQzFP4bxwgy80W"), None, "one more than the greatest");
        assert_eq!(decode(b"000"), None);
    }
}
