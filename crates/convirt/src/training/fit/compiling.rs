//! The wait for the first step on a device that compiles its kernels then.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use convirt_ops::is_flex;

use crate::messages::progress;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(30);

/// Tells that kernels are being compiled, again and again, until it is dropped.
pub(super) struct CompilingNote {
    /// Ends the thread when it is dropped.
    _end: Sender<()>,
}

impl CompilingNote {
    /// Begins before the first step of a process; `None` on the CPU, which compiles nothing then.
    pub fn begin(device: &Device) -> Option<Self> {
        (!is_flex(device)).then(|| {
            progress("the first step compiles the device's kernels and tries which are fastest");
            Self::every(INTERVAL, |seconds| {
                progress(format_args!("the first step is compiling: {seconds} s"));
            })
        })
    }

    fn every(interval: Duration, tell: impl Fn(u64) + Send + 'static) -> Self {
        let (end, ended) = channel();
        thread::spawn(move || {
            let begun = Instant::now();
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                tell(begun.elapsed().as_secs());
            }
        });
        Self { _end: end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_until_it_is_dropped_and_not_on_the_cpu() {
        assert!(CompilingNote::begin(&Device::flex().autodiff()).is_none());
        let (sender, told) = channel();
        let note = CompilingNote::every(Duration::from_millis(5), move |seconds| {
            sender.send(seconds).unwrap();
        });
        assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [0, 0, 0]);
        drop(note);
        // The thread has ended when its sender is gone.
        assert!(told.iter().count() < 3);
    }
}
