//! Where keys that were heard go.

use crate::proto::{
    capture::Capture,
    secret::{Pressed, TakeKey},
    time::Now,
};

/// Whoever the keys of a stream are for.
pub(in crate::proto::call) trait Keeper {
    /// What takes a key, if anything does now.
    fn place(&mut self) -> Option<&mut dyn TakeKey>;
    /// One was taken, or would have been. Told at once, before the next one.
    fn pressed(&mut self, pressed: Pressed, now: Now);
}

/// The field that is open, if one is: keys go into its slot, and a key that ends a field ends it
/// before the next one.
impl Keeper for Option<Capture> {
    fn place(&mut self) -> Option<&mut dyn TakeKey> {
        let slot = self.as_mut()?.slot_mut()?;
        Some(slot)
    }

    fn pressed(&mut self, pressed: Pressed, now: Now) {
        if let Some(capture) = self {
            capture.handle_pressed(pressed, now);
        }
    }
}

/// Where keys go.
pub(super) struct Keys<'a> {
    pub(super) keeper: &'a mut dyn Keeper,
    /// False for a source that took over in the middle of a field: its keys belong to nobody.
    pub(super) open: bool,
    pub(super) now: Now,
    pub(super) presses: u32,
}

impl<'a> Keys<'a> {
    pub(super) fn new(keeper: &'a mut dyn Keeper, now: Now) -> Self {
        Self {
            keeper,
            open: true,
            now,
            presses: 0,
        }
    }

    /// Lets `listen` hear what holds one press at most.
    pub(super) fn hear<R>(
        &mut self,
        listen: impl FnOnce(Option<&mut dyn TakeKey>, &mut dyn FnMut(Pressed)) -> R,
    ) -> R {
        let mut pressed = None;
        let place = if self.open { self.keeper.place() } else { None };
        let heard = listen(place, &mut |key| pressed = Some(key));
        if let Some(pressed) = pressed {
            self.presses = self.presses.saturating_add(1);
            if self.open {
                self.keeper.pressed(pressed, self.now);
            }
        }
        heard
    }
}
