//! Sizes that tell little: plaintext is padded to one of a few steps (`docs/wire-format.md` section 3).

use zeroize::Zeroizing;

/// Sizes of a padded plaintext, in bytes, ascending.
pub const STEPS: [usize; 11] = [256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 49_152, 65_536, 81_920];

/// Most bytes of content in one message.
pub const CONTENT_MAX: usize = 65_536;

const LENGTH_SIZE: usize = 4;

/// The smallest step that holds this many bytes and their length.
fn step_for(length: usize) -> Option<usize> {
    STEPS.into_iter().find(|step| step - LENGTH_SIZE >= length)
}

/// Most bytes that are padded to the step of so many; `None` if no step is large enough.
pub(crate) fn capacity(length: usize) -> Option<usize> {
    step_for(length).map(|step| step - LENGTH_SIZE)
}

/// u32(n) ‖ n bytes ‖ zeros up to the smallest step; `None` if no step is large enough.
pub(crate) fn pad(message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let step = step_for(message.len())?;
    let length = u32::try_from(message.len()).ok()?;
    Some(filled(&length.to_be_bytes(), message, step))
}

/// Reverses [`pad`]; `None` unless the step is the smallest and every byte after the message is zero.
pub(crate) fn unpad(plaintext: &[u8]) -> Option<&[u8]> {
    let (length, rest) = plaintext.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if step_for(length)? != plaintext.len() {
        return None;
    }
    split_zeros(rest, length)
}

/// u16(n) ‖ n bytes ‖ zeros up to `size`; `None` if it does not fit.
pub(crate) fn pad_to(message: &[u8], size: usize) -> Option<Zeroizing<Vec<u8>>> {
    let length = u16::try_from(message.len()).ok()?;
    (message.len() + 2 <= size).then(|| filled(&length.to_be_bytes(), message, size))
}

/// Reverses [`pad_to`]; `None` unless the length is `size` and every byte after the message is zero.
pub(crate) fn unpad_from(plaintext: &[u8], size: usize) -> Option<&[u8]> {
    let (length, rest) = plaintext.split_first_chunk()?;
    if plaintext.len() != size {
        return None;
    }
    split_zeros(rest, usize::from(u16::from_be_bytes(*length)))
}

fn filled(length: &[u8], message: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.extend_from_slice(length);
    out.extend_from_slice(message);
    out.resize(size, 0);
    out
}

fn split_zeros(rest: &[u8], length: usize) -> Option<&[u8]> {
    let (message, zeros) = rest.split_at_checked(length)?;
    zeros.iter().all(|&byte| byte == 0).then_some(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_step_boundary() {
        for (i, step) in STEPS.into_iter().enumerate() {
            let full = vec![1; step - LENGTH_SIZE];
            assert_eq!(pad(&full).unwrap().len(), step);
            assert_eq!(unpad(&pad(&full).unwrap()).unwrap(), full);
            let over = vec![1; step - LENGTH_SIZE + 1];
            match STEPS.get(i + 1) {
                Some(&next) => assert_eq!(pad(&over).unwrap().len(), next),
                None => assert!(pad(&over).is_none()),
            }
        }
    }

    #[test]
    fn only_the_smallest_step_and_only_zeros() {
        let mut padded = pad(b"x").unwrap();
        padded[255] = 1;
        assert!(unpad(&padded).is_none());
        padded[255] = 0;
        assert_eq!(unpad(&padded).unwrap(), b"x");
        padded.resize(512, 0);
        assert!(unpad(&padded).is_none());
        assert!(unpad(&[0, 0, 0]).is_none());
        assert!(unpad(&[0xff; 256]).is_none());
    }

    #[test]
    fn fixed_size() {
        let padded = pad_to(&[7; 510], 512).unwrap();
        assert_eq!(unpad_from(&padded, 512).unwrap(), [7; 510]);
        assert!(pad_to(&[7; 511], 512).is_none());
        assert!(unpad_from(&padded[..511], 512).is_none());
        let mut padded = pad_to(b"x", 512).unwrap();
        padded[511] = 1;
        assert!(unpad_from(&padded, 512).is_none());
        assert!(unpad_from(&[0xff; 512], 512).is_none());
    }
}
