//! A progress bar for what takes seconds; drawn on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{prefix} [{bar:24}] {pos}/{len} {msg}";

/// Some steps that may be done side by side. Dropping it clears the bar.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar on the standard error for this many steps; nothing where that is no terminal.
    #[must_use]
    pub fn new(label: &str, steps: u64) -> Self {
        let style =
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_invalid| ProgressStyle::default_bar());
        let bar =
            ProgressBar::new(steps).with_style(style.progress_chars("=> ")).with_prefix(label.to_owned());
        bar.tick();
        Self { bar }
    }

    /// Counts one step as done, and names it.
    pub fn done(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.inc(1);
    }

    /// How many steps are done.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bar.position()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_without_a_terminal_too() {
        let progress = Progress::new("starting", 2);
        progress.done("server");
        progress.done("bridge");
        assert_eq!(progress.count(), 2);
    }
}
