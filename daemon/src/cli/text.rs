//! Text that others wrote, made fit for a terminal: names, messages and details may hold anything.

use std::borrow::Cow;

/// Digits of an id in a list: enough to name it again, few enough to read.
const SHORT_ID_DIGITS: usize = 16;

/// Text for a line or a column: line breaks and tabs become spaces, what could steer a terminal is escaped.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| match c {
        '\n' | '\t' => Some(' '),
        _ => None,
    })
}

/// Text of several lines: what could steer a terminal is escaped.
pub(super) fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |c| match c {
        '\n' | '\t' => Some(c),
        _ => None,
    })
}

/// The beginning of a text, on one line of at most `max` characters.
pub(super) fn preview(text: &str, max: usize) -> String {
    let line = text.split_whitespace().fold(String::new(), |mut line, word| {
        // A text can be 64 KiB long: no more of it than can be shown.
        if line.chars().count() <= max {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        line
    });
    let line = one_line(&line);
    if line.chars().count() <= max {
        return line.into_owned();
    }
    line.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// The first digits of an id or key.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT_ID_DIGITS).unwrap_or(id)
}

/// A value, or a dash where there is none.
pub(super) fn or_dash(value: &str) -> String {
    if value.is_empty() { "-".into() } else { value.into() }
}

/// Bytes in the unit that suits them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "B";
    let mut tenths = u128::from(bytes) * 10;
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// A number of things, in the right grammatical number.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn escaped(text: &str, keep: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match keep(c) {
            Some(replacement) => safe.push(replacement),
            None if steers(c) => safe.extend(c.escape_unicode()),
            None => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters move the cursor and worse; the bidirectional ones make text read as what it is not.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb c\\u{202e}d");
        assert_eq!(block("a\r\n\tb\u{9b}"), "a\\u{d}\n\tb\\u{9b}");
        assert!(matches!(one_line("plain žluť 鳩"), Cow::Borrowed(_)));
        for code in 0..=0x20ff {
            let Some(c) = char::from_u32(code) else { continue };
            let shown = one_line(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!shown.chars().any(steers), "{code:#x} got through");
        }
    }

    #[test]
    fn a_preview_is_one_line_of_the_beginning() {
        assert_eq!(preview("one\n two\tthree", 40), "one two three");
        assert_eq!(preview("abcdef", 6), "abcdef");
        assert_eq!(preview("abcdefg", 6), "abcde…");
        assert_eq!(preview("\u{1b}".repeat(9).as_str(), 6).chars().count(), 6);
        assert_eq!(preview("", 6), "");
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }
}
