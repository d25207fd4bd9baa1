//! Drawing initial weights from a seed.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;

/// The device on which initial weights are drawn: the CPU, so that a seed gives the same weights on
/// every device. There is one at a time, since all threads draw from one generator.
pub(crate) struct DrawingDevice {
    device: Device,
    _turn: MutexGuard<'static, ()>,
}

impl DrawingDevice {
    /// Waits until no other one exists, and seeds the generator.
    pub fn with_seed(seed: u64) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let device = Device::flex();
        device.seed(seed);
        Self {
            device,
            _turn: turn,
        }
    }
}

impl Deref for DrawingDevice {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_draws_at_a_time() {
        let first = DrawingDevice::with_seed(1);
        let second = thread::spawn(|| drop(DrawingDevice::with_seed(2)));
        thread::sleep(Duration::from_millis(100));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    }
}
