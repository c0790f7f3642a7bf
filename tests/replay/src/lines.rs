//! Lines of words, from plain or gzip-compressed text.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;

use crate::error::ReplayError;

/// Longest line; no line of the format comes near.
const LINE_BYTES_MAX: u64 = 4096;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Latest time and longest lifetime: about 31 years.
const SECONDS_MAX: f64 = 1e9;

/// One line that is no comment, with its place for errors.
pub(crate) struct Line<'a> {
    file: &'a Source,
    number: usize,
    words: Vec<&'a str>,
}

struct Source {
    path: PathBuf,
    form: &'static str,
}

/// Calls `each` with every line that is neither empty nor a comment. `form` is what lines look like.
pub(crate) fn each_line(
    path: &Path,
    form: &'static str,
    mut each: impl FnMut(&Line<'_>) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let file = Source { path: path.to_owned(), form };
    let mut text = open(path).map_err(|source| file.unreadable(source))?;
    let (mut number, mut count, mut bytes) = (0, 0, Vec::new());
    loop {
        bytes.clear();
        let read = text.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        if read.map_err(|source| file.unreadable(source))? == 0 {
            break;
        }
        number += 1;
        let line = std::str::from_utf8(&bytes).map_err(|_| file.error(number, "it is no UTF-8 text"))?;
        if bytes.len() as u64 == LINE_BYTES_MAX {
            return Err(file.error(number, "it is too long"));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_some_and(|word| !word.starts_with('#')) {
            count += 1;
            each(&Line { file: &file, number, words })?;
        }
    }
    if count == 0 { Err(ReplayError::Empty { path: file.path, form }) } else { Ok(()) }
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let gzip = file.fill_buf()?.starts_with(&GZIP_MAGIC);
    Ok(if gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}

impl Source {
    fn unreadable(&self, source: std::io::Error) -> ReplayError {
        ReplayError::Read { path: self.path.clone(), source }
    }

    fn error(&self, line: usize, what: impl Into<String>) -> ReplayError {
        ReplayError::Line { path: self.path.clone(), line, what: what.into(), form: self.form }
    }
}

impl Line<'_> {
    pub(crate) fn error(&self, what: impl Into<String>) -> ReplayError {
        self.file.error(self.number, what)
    }

    pub(crate) fn expect_words(&self, count: usize) -> Result<(), ReplayError> {
        if self.words.len() == count {
            return Ok(());
        }
        Err(self.error(format!("it has {} words, not {count}", self.words.len())))
    }

    pub(crate) fn word(&self, at: usize) -> &str {
        self.words.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn number<T: FromStr>(&self, at: usize, what: &str) -> Result<T, ReplayError> {
        let word = self.word(at);
        word.parse().map_err(|_| self.error(format!("{what} `{word}` is no number, or out of range")))
    }

    /// Seconds, with a fraction, as milliseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative and at most 1e12 after the check"
    )]
    pub(crate) fn time_ms(&self, at: usize, what: &str) -> Result<u64, ReplayError> {
        let seconds: f64 = self.number(at, what)?;
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(self.error(format!("{what} `{}` is not between 0 and 1e9", self.word(at))));
        }
        Ok((seconds * 1000.0).round() as u64)
    }
}
