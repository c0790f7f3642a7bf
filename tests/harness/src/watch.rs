//! A daemon's events as they happen, and waiting for them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::event::Event;
use crate::spawn::Process;
use crate::wait::Deadline;

/// More than any story makes; what comes after is lost to the watcher, and a wait for it times out.
const EVENTS_MAX: usize = 200_000;
/// How long a condition that no event announces goes unnoticed.
const TICK: Duration = Duration::from_millis(500);
/// Events that a failed wait shows.
const SHOWN_MAX: usize = 12;

/// All events of one node since it was first started, over restarts of its daemon. Clones see the same events.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
}

/// A place among a node's events: waits that begin there see only what happened later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

impl Watch {
    /// Reads the events that `command` prints, one JSON object a line, on a thread of its own until it ends.
    pub(crate) fn follow(&self, mut command: Command, errors: &Path) -> Result<Process> {
        let log = File::options().create(true).append(true).open(errors);
        let log = log.map_err(HarnessError::file("open", errors))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = Process::spawn("pigeon watch", "cargo", command)?;
        if let Some(lines) = process.child().stdout.take() {
            let watch = self.clone();
            thread::spawn(move || watch.read(BufReader::new(lines)));
        }
        Ok(process)
    }

    fn read(&self, lines: impl BufRead) {
        let parsed = lines.lines().map_while(std::result::Result::ok);
        for event in parsed.filter_map(|line| serde_json::from_str(&line).ok()) {
            self.push(event);
        }
    }

    fn push(&self, event: Event) {
        let mut events = self.lock();
        if events.len() < EVENTS_MAX {
            events.push(event);
            self.shared.arrived.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The events so far that match.
    #[must_use]
    pub fn matching(&self, matches: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.lock().iter().filter(|event| matches(event)).cloned().collect()
    }

    /// The events after `mark`.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<Event> {
        self.lock().iter().skip(mark.0).cloned().collect()
    }

    /// The present, to be waited from later.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The first event that matches, past ones included.
    ///
    /// # Errors
    /// At the deadline, with the last events that there were.
    pub fn wait_for(
        &self,
        deadline: impl Into<Deadline>,
        what: &str,
        matches: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        self.wait_after(Mark(0), deadline, what, matches)
    }

    /// The first event after `mark` that matches.
    ///
    /// # Errors
    /// At the deadline, with the last events that there were.
    pub fn wait_after(
        &self,
        mark: Mark,
        deadline: impl Into<Deadline>,
        what: &str,
        matches: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let (deadline, mut seen, mut events) = (deadline.into(), mark.0, self.lock());
        loop {
            if let Some(event) = events.iter().skip(seen).find(|event| matches(event)) {
                return Ok(event.clone());
            }
            seen = events.len().max(seen);
            if deadline.passed() {
                return Err(too_late(what, &deadline, &events));
            }
            events = self.sleep(events, deadline.left());
        }
    }

    /// Looks again after each event, and twice a second besides, until `look` yields a value: for what is
    /// known only by asking the daemon.
    ///
    /// # Errors
    /// At the deadline, with the last events that there were.
    pub fn wait_until<T>(
        &self,
        deadline: impl Into<Deadline>,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = deadline.into();
        loop {
            let seen = self.lock().len();
            if let Some(found) = look() {
                return Ok(found);
            }
            let events = self.lock();
            if deadline.passed() {
                return Err(too_late(what, &deadline, &events));
            }
            if events.len() == seen {
                drop(self.sleep(events, deadline.left().min(TICK)));
            }
        }
    }

    fn sleep<'a>(&self, events: MutexGuard<'a, Vec<Event>>, most: Duration) -> MutexGuard<'a, Vec<Event>> {
        self.shared.arrived.wait_timeout(events, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn too_late(what: &str, deadline: &Deadline, events: &[Event]) -> HarnessError {
    let last = &events[events.len().saturating_sub(SHOWN_MAX)..];
    let kinds: Vec<&str> = last.iter().map(|event| event.kind.as_str()).collect();
    let context = match kinds[..] {
        [] => "; there were no events at all".to_owned(),
        _ => format!("; the last events were {}", kinds.join(", ")),
    };
    HarnessError::Timeout { what: what.to_owned(), waited: deadline.length(), context }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    fn event(kind: &str) -> Event {
        Event { kind: kind.to_owned(), ..Event::default() }
    }

    #[test]
    fn lines_become_events_and_noise_is_passed_over() {
        let watch = Watch::default();
        watch.read("{\"kind\":\"taken\"}\nnot json\n{\"kind\":\"purged\"}\n".as_bytes());
        let kinds: Vec<_> = watch.events().into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["taken", "purged"]);
    }

    #[test]
    fn a_wait_ends_with_the_event_not_with_the_deadline() {
        let watch = Watch::default();
        let later = watch.clone();
        let waiting =
            thread::spawn(move || later.wait_for(Deadline::secs(60), "taken", |e| e.kind == "taken"));
        watch.push(event("neighbour_up"));
        watch.push(event("taken"));
        assert_eq!(waiting.join().unwrap().unwrap().kind, "taken");
    }

    #[test]
    fn a_mark_hides_the_past() {
        let watch = Watch::default();
        watch.push(event("taken"));
        let mark = watch.mark();
        assert!(watch.wait_for(SHORT, "taken", |e| e.kind == "taken").is_ok());
        let error = watch.wait_after(mark, SHORT, "another taken", |e| e.kind == "taken").unwrap_err();
        assert!(error.to_string().contains("another taken did not happen"), "{error}");
        assert!(error.to_string().contains("the last events were taken"), "{error}");
    }

    #[test]
    fn a_condition_is_looked_at_after_each_event() {
        let watch = Watch::default();
        let later = watch.clone();
        let waiting = thread::spawn(move || {
            later.wait_until(Deadline::secs(60), "two events", || (later.events().len() == 2).then_some(()))
        });
        watch.push(event("a"));
        watch.push(event("b"));
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_condition_that_stays_false_is_a_timeout() {
        let error = Watch::default().wait_until(SHORT, "pigs flying", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("pigs flying"), "{error}");
    }
}
