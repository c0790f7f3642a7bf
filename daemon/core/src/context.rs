//! What every handler gets.

use pigeon_proto::Frame;

use crate::action::Action;
use crate::catalog::Catalog;
use crate::event::{LinkId, Now};
use crate::notice::Notice;

/// What every handler gets: the time, the store, and where actions go.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    /// The wall time is our own, not only what neighbours say.
    pub(crate) own_clock: bool,
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) out: &'a mut Vec<Action>,
}

impl Context<'_> {
    pub(crate) fn notice(&mut self, notice: Notice) {
        self.out.push(Action::Notice(notice));
    }

    pub(crate) fn send(&mut self, link: LinkId, frame: Frame) {
        self.out.push(Action::Send { link, frame });
    }
}
