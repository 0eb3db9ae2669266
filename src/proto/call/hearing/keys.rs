//! Where keys that were heard go.

use crate::proto::{
    capture::Capture,
    secret::{KeySlot, Pressed},
    time::Now,
};

/// Where keys go: into the slot of the field that is open, if one is. The capture is told of each
/// at once, so that a key that ends a field ends it before the next one.
pub(super) struct Keys<'a> {
    pub(super) capture: &'a mut Option<Capture>,
    /// False for a source that took over in the middle of a field: its keys belong to nobody.
    pub(super) open: bool,
    pub(super) now: Now,
    pub(super) presses: u32,
}

impl<'a> Keys<'a> {
    pub(super) const fn new(capture: &'a mut Option<Capture>, now: Now) -> Self {
        Self {
            capture,
            open: true,
            now,
            presses: 0,
        }
    }

    /// Lets `listen` hear what holds one press at most.
    pub(super) fn hear<R>(
        &mut self,
        listen: impl FnOnce(Option<&mut KeySlot>, &mut dyn FnMut(Pressed)) -> R,
    ) -> R {
        let mut capture = self.capture.as_mut().filter(|_| self.open);
        let mut pressed = None;
        let slot = capture.as_deref_mut().and_then(Capture::slot_mut);
        let heard = listen(slot, &mut |key| pressed = Some(key));
        if let Some(pressed) = pressed {
            self.presses = self.presses.saturating_add(1);
            if let Some(capture) = capture {
                capture.handle_pressed(pressed, self.now);
            }
        }
        heard
    }
}
