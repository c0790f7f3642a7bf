//! A trace, a workload and uplink windows: what happens, in the order in which it is applied.

use std::path::Path;

use crate::error::ReplayError;
use crate::lines::{Line, each_line};

/// Nodes of one replay; each is a whole core.
pub const NODES_MAX: u32 = 16_384;

const TRACE_FORM: &str = "TIME CONN A B up|down";
const WORKLOAD_FORM: &str = "TIME ID FROM TO SIZE TTL";
const UPLINK_FORM: &str = "START END NODE";

/// One thing that happens. The order of the variants is the order at equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A contact ends.
    Down(u32, u32),
    /// A node loses the internet.
    UplinkEnds(u32),
    /// A contact begins.
    Up(u32, u32),
    /// A node has the internet.
    UplinkBegins(u32),
    /// A message is written: its number in [`Scenario::messages`].
    Written(usize),
}

/// A message of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name in the workload.
    pub id: String,
    /// Milliseconds from the start of the trace.
    pub written_ms: u64,
    /// Author.
    pub from: u32,
    /// Recipient.
    pub to: u32,
    /// Bytes, as they are counted.
    pub size: u64,
    /// Milliseconds; every copy disappears at the end.
    pub ttl_ms: u64,
}

impl Message {
    /// When every copy disappears.
    pub fn ends_ms(&self) -> u64 {
        self.written_ms + self.ttl_ms
    }
}

/// Everything that a replay needs, checked.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// What happens and when, in order.
    pub happenings: Vec<(u64, Happening)>,
    /// The messages, as in the file.
    pub messages: Vec<Message>,
    /// Nodes are numbered below this.
    pub nodes: u32,
    /// Time of the last contact event.
    pub ends_ms: u64,
}

impl Scenario {
    /// Reads the files, plain or gzip-compressed.
    ///
    /// # Errors
    /// [`ReplayError`] naming file and line.
    pub fn read(trace: &Path, workload: &Path, uplink: Option<&Path>) -> Result<Self, ReplayError> {
        let mut scenario = Self::default();
        each_line(trace, TRACE_FORM, |line| scenario.contact(line))?;
        each_line(workload, WORKLOAD_FORM, |line| scenario.message(line))?;
        if let Some(uplink) = uplink {
            each_line(uplink, UPLINK_FORM, |line| scenario.window(line))?;
        }
        scenario.happenings.sort_unstable();
        Ok(scenario)
    }

    fn contact(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        line.expect_words(5)?;
        let at_ms = line.time_ms(0, "time")?;
        if line.word(1) != "CONN" {
            return Err(line.error(format!("`{}` is no CONN", line.word(1))));
        }
        let (one, two) = (self.node(line, 2)?, self.node(line, 3)?);
        if one == two {
            return Err(line.error(format!("node {one} meets itself")));
        }
        let (one, two) = (one.min(two), one.max(two));
        let happening = match line.word(4) {
            "up" => Happening::Up(one, two),
            "down" => Happening::Down(one, two),
            word => return Err(line.error(format!("`{word}` is neither up nor down"))),
        };
        self.ends_ms = self.ends_ms.max(at_ms);
        self.happenings.push((at_ms, happening));
        Ok(())
    }

    fn message(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        line.expect_words(6)?;
        let message = Message {
            written_ms: line.time_ms(0, "time")?,
            id: line.word(1).to_owned(),
            from: self.node(line, 2)?,
            to: self.node(line, 3)?,
            size: line.number(4, "size")?,
            ttl_ms: line.time_ms(5, "ttl")?,
        };
        if message.size == 0 || message.ttl_ms == 0 {
            return Err(line.error("size and ttl must be above 0"));
        }
        self.happenings.push((message.written_ms, Happening::Written(self.messages.len())));
        self.messages.push(message);
        Ok(())
    }

    fn window(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        line.expect_words(3)?;
        let (starts_ms, ends_ms) = (line.time_ms(0, "start")?, line.time_ms(1, "end")?);
        if ends_ms <= starts_ms {
            return Err(line.error("the window ends before it starts"));
        }
        let node = self.node(line, 2)?;
        self.happenings.push((starts_ms, Happening::UplinkBegins(node)));
        self.happenings.push((ends_ms, Happening::UplinkEnds(node)));
        Ok(())
    }

    fn node(&mut self, line: &Line<'_>, at: usize) -> Result<u32, ReplayError> {
        let node: u32 = line.number(at, "node")?;
        if node >= NODES_MAX {
            return Err(line.error(format!("node {node} is above the limit of {}", NODES_MAX - 1)));
        }
        self.nodes = self.nodes.max(node + 1);
        Ok(node)
    }
}
