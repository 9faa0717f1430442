//! How much of a stream may be under way: a count of bytes that senders wait for and receivers give back.
//!
//! Without it a reader who pauses (`exec … | less`) would make the keeper store the rest, or stop everybody.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of one stream that may be unacknowledged.
pub const WINDOW: usize = 256 * 1024;

/// Room for bytes; closed when the other side is gone.
#[derive(Debug)]
pub struct Window {
    size: usize,
    room: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Default for Window {
    fn default() -> Self {
        Self::of(WINDOW)
    }
}

impl Window {
    pub fn of(size: usize) -> Self {
        Self {
            size,
            room: Mutex::new(Some(size)),
            changed: Condvar::new(),
        }
    }

    /// Waits until there is room and takes it; a chunk is never larger than the window. False: closed.
    pub fn take(&self, bytes: usize) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *room {
                None => return false,
                Some(free) if free >= bytes => {
                    *room = Some(free - bytes);
                    return true;
                }
                Some(_) => {
                    room = self
                        .changed
                        .wait(room)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub fn give(&self, bytes: usize) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        *room = room.map(|free| (free + bytes).min(self.size));
        self.changed.notify_all();
    }

    /// Nobody will give room any more: whoever waits is told.
    pub fn close(&self) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_waits_for_room_and_is_released_when_the_reader_is_gone() {
        let window = Window::default();
        assert!(window.take(WINDOW));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| window.take(1));
            window.give(1);
            assert!(waiting.join().unwrap());
            let waiting = scope.spawn(|| window.take(1));
            window.close();
            assert!(!waiting.join().unwrap());
        });
    }
}
