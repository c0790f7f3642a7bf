//! XML streams (RFC 6120 section 4), written here over the `rxml` tokenizer.
//!
//! Why not tokio-xmpp: its stanza types and its stream queue give no way to bound what a received stanza becomes
//! in memory (a stranger's stanza of 37,000 nested tags would overflow the stack when its tree is dropped), and
//! none to hold back an acknowledgement (XEP-0198) until the application has stored what it acknowledges.
//!
//! [`parse`], [`names`] and [`print`] do no IO.

mod names;
mod parse;
mod print;
mod stream;

pub(crate) use parse::Item;
#[cfg(test)]
pub(crate) use parse::parse_element;
pub(crate) use print::{With, el, print};
pub(crate) use stream::{Wire, WireError};
