//! Lines of the standard input as messages, with a bound on each.

use std::io::{self, BufRead};

/// The longest line, and text, taken: the content of a message is at most 64 KiB (`docs/wire-format.md`).
pub(super) const TEXT_BYTES_MAX: usize = 65_536;

/// One line of input without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// Longer than [`TEXT_BYTES_MAX`]; it was skipped.
    TooLong,
    NotUtf8,
}

impl Line {
    /// Why this line cannot be sent.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => None,
            Self::TooLong => Some("longer than 65536 bytes"),
            Self::NotUtf8 => Some("not UTF-8"),
        }
    }
}

/// Reads the next line, `None` at the end. Memory stays bounded however long the line is.
pub(super) fn next(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    let mut any = false;
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(any.then(|| finish(line, too_long)));
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        // One more byte than allowed, for a carriage return.
        too_long = too_long || line.len() + text.len() > TEXT_BYTES_MAX + 1;
        if !too_long {
            line.extend_from_slice(text);
        }
        let used = end.map_or(chunk.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(finish(line, too_long)));
        }
    }
}

fn finish(mut line: Vec<u8>, too_long: bool) -> Line {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if too_long || line.len() > TEXT_BYTES_MAX {
        return Line::TooLong;
    }
    String::from_utf8(line).map_or(Line::NotUtf8, Line::Text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn all(input: &[u8], buffer: usize) -> Vec<Line> {
        let mut reader = io::BufReader::with_capacity(buffer, input);
        std::iter::from_fn(|| next(&mut reader).unwrap()).collect()
    }

    #[test]
    fn lines_end_at_newlines_and_at_the_end_of_the_input() {
        let text = |line: &str| Line::Text(line.into());
        for buffer in [1, 2, 3, 4096] {
            assert_eq!(all(b"", buffer), []);
            assert_eq!(all(b"\n", buffer), [text("")]);
            assert_eq!(all(b"one\r\n\ntwo", buffer), [text("one"), text(""), text("two")]);
            assert_eq!(all(b"\xff\nok\n", buffer), [Line::NotUtf8, text("ok")]);
        }
    }

    #[test]
    fn the_longest_line_is_taken_and_a_longer_one_skipped_whole() {
        let mut input = vec![b'a'; TEXT_BYTES_MAX];
        input.extend_from_slice(b"\r\n");
        input.extend(vec![b'b'; TEXT_BYTES_MAX + 1]);
        input.extend_from_slice(b"\nc");
        let lines = all(&input, 1000);
        assert!(matches!(&lines[0], Line::Text(text) if text.len() == TEXT_BYTES_MAX));
        assert_eq!(lines[1..], [Line::TooLong, Line::Text("c".into())]);
    }
}
