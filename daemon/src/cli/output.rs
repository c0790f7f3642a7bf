//! The standard output: lines for people, JSON for programs, and no panic when its reader is gone.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use serde::Serialize;

use super::error::CliError;
use super::text;

/// Where a command writes its result.
pub(super) struct Out {
    writer: Box<dyn Write>,
    json: bool,
    terminal: bool,
    colour: bool,
}

impl Out {
    /// The process's standard output. Colour only in a terminal, and not where `NO_COLOR` is set.
    pub(super) fn stdout(json: bool) -> Self {
        let lock = io::stdout().lock();
        let terminal = lock.is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { writer: Box::new(BufWriter::new(lock)), json, terminal, colour }
    }

    /// Whether a program reads this.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person sees this as it is.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether escape sequences for colour are welcome.
    pub(super) fn has_colour(&self) -> bool {
        self.colour
    }

    /// One object on a line of its own.
    pub(super) fn object(&mut self, object: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.writer, object).map_err(|error| CliError::output(error.into()))?;
        self.line("")
    }

    /// One line. What comes from others must have passed [`text::one_line`] or [`text::block`].
    pub(super) fn line(&mut self, line: &str) -> Result<(), CliError> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes).map_err(CliError::output)
    }

    /// Lines of name and value, the values under each other; the names are ours, the values anyone's.
    pub(super) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), CliError> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            let line = format!("{name:width$}  {}", text::one_line(value));
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Rows under a head, in columns. Prints nothing when there are no rows.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: &[[String; N]],
    ) -> Result<(), CliError> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| row.each_ref().map(|cell| text::one_line(cell).into_owned())).collect();
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        });
        let title = in_columns(&head.map(str::to_owned), &widths);
        self.line(&if self.colour { format!("\x1b[1m{title}\x1b[0m") } else { title })?;
        rows.iter().try_for_each(|row| self.line(&in_columns(row, &widths)))
    }

    /// Hands everything to the reader.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.writer.flush().map_err(CliError::output)
    }
}

fn in_columns<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

/// What a view prints, for tests of views: no terminal, no colour.
#[cfg(test)]
pub(super) fn printed(view: impl FnOnce(&mut Out) -> Result<(), CliError>) -> String {
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Shared(Rc<RefCell<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let text = Rc::new(RefCell::new(Vec::new()));
    let writer = Box::new(Shared(Rc::clone(&text)));
    view(&mut Out { writer, json: false, terminal: false, colour: false }).expect("memory can be written");
    String::from_utf8(text.take()).expect("views print text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_leave_no_blanks_at_the_end() {
        let widths = [6, 3];
        assert_eq!(in_columns(&["žluť".into(), "1".into()], &widths), "žluť    1");
        assert_eq!(in_columns(&["ab".into(), String::new()], &widths), "ab");
    }
}
