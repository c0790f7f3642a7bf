//! One authenticated link: a task that reads frames for the core and the meeting desk, a task that writes what these send.

use std::time::Duration;

use pigeon_core::{Event as CoreEvent, LinkId};
use pigeon_link::Link;
use pigeon_proto::{Frame, GoodbyeReason};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::input::Input;

/// Frames that wait to be written. The core's windows keep far below; a link that reaches it is closed.
const FRAMES_OUT_MAX: usize = 1_024;

/// How long a goodbye may take to be sent.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// The shell's end of a link.
pub struct LinkHandle {
    id: LinkId,
    frames: mpsc::Sender<Frame>,
    stop: CancellationToken,
}

impl LinkHandle {
    /// Queues a frame; closes the link where the peer does not take what it is sent.
    pub fn send(&self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.frames.try_send(frame) {
            tracing::warn!(link = self.id.0, "the peer does not take its frames; closing the link");
            self.stop.cancel();
        }
    }

    /// Says goodbye after what is queued, then closes.
    pub fn close(&self, reason: GoodbyeReason) {
        if self.frames.try_send(Frame::Goodbye(reason)).is_err() {
            self.stop.cancel();
            return;
        }
        // A peer that does not read would keep the goodbye, and with it the link, waiting for ever.
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(GOODBYE_MAX) => stop.cancel() }
        });
    }
}

/// Starts both tasks. The core hears `LinkDown` exactly once, when both have ended.
pub fn spawn_link(id: LinkId, link: Link, inputs: mpsc::Sender<Input>) -> LinkHandle {
    let (sender, mut receiver) = link.split();
    let (frames, mut outgoing) = mpsc::channel::<Frame>(FRAMES_OUT_MAX);
    let stop = CancellationToken::new();
    let stop_writer = stop.clone();
    let writer = tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                () = stop_writer.cancelled() => return,
                frame = outgoing.recv() => frame,
            };
            let Some(frame) = frame else { return };
            let last = matches!(frame, Frame::Goodbye(_));
            let sent = tokio::select! {
                () = stop_writer.cancelled() => return,
                sent = sender.send(frame) => sent,
            };
            if last || sent.is_err() {
                sender.close();
                stop_writer.cancel();
                return;
            }
        }
    });
    let stop_reader = stop.clone();
    tokio::spawn(async move {
        loop {
            let received = tokio::select! {
                () = stop_reader.cancelled() => break,
                received = receiver.recv() => received,
            };
            match received {
                Ok(Some(frame)) => {
                    let input = match frame {
                        Frame::Introduction(step) => Input::Introduction { link: id, step },
                        frame => Input::Core(CoreEvent::Frame { link: id, frame }),
                    };
                    if inputs.send(input).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::info!(link = id.0, %error, "link ended");
                    break;
                }
            }
        }
        stop_reader.cancel();
        let _ = writer.await;
        let _ = inputs.send(Input::Core(CoreEvent::LinkDown { link: id })).await;
    });
    LinkHandle { id, frames, stop }
}
