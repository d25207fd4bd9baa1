//! Time spent in operations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static RECORD: Mutex<Option<Profile>> = Mutex::new(None);

/// The time that the CPU's operations took while some work ran. Displays as a table.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Profile, linear};
///
/// let matrix = || Tensor::<2>::ones([64, 64], &Device::flex());
/// let (output, profile) = Profile::measure(|| linear(matrix(), matrix(), None));
/// assert_eq!(output.dims(), [64, 64]);
/// assert!(profile.to_string().contains("Linear"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Profile {
    operations: BTreeMap<&'static str, Time>,
    total: Duration,
}

/// Calls of an operation and the time of its two passes.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    calls: usize,
    forward: Duration,
    backward: Duration,
}

/// A pass of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Backward,
}

impl Profile {
    /// Runs `work` and adds up the time of all operations in the process meanwhile. Operations of
    /// other devices are not counted, since they continue after their call.
    pub fn measure<R>(work: impl FnOnce() -> R) -> (R, Self) {
        let before = record().replace(Self::default());
        let start = Instant::now();
        let result = work();
        let total = start.elapsed();
        let mut profile = std::mem::replace(&mut *record(), before).unwrap_or_default();
        profile.total = total;
        (result, profile)
    }
}

/// Runs an operation, and adds its time to the record if there is one.
pub(crate) fn timed<R>(name: &'static str, pass: Pass, work: impl FnOnce() -> R) -> R {
    if record().is_none() {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    if let Some(profile) = &mut *record() {
        let time = profile.operations.entry(name).or_default();
        match pass {
            Pass::Forward => {
                time.calls += 1;
                time.forward += took;
            }
            Pass::Backward => time.backward += took,
        }
    }
    result
}

fn record() -> std::sync::MutexGuard<'static, Option<Profile>> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table in percent of the total, the longest operation first.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operations: Vec<_> = self.operations.iter().collect();
        operations.sort_by_key(|(_, time)| std::cmp::Reverse(time.forward + time.backward));
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / self.total.as_secs_f64();
        writeln!(f, "{:20} calls  forward  backward", "operation")?;
        let mut remainder = self.total;
        for (name, time) in operations {
            remainder = remainder.saturating_sub(time.forward + time.backward);
            let [forward, backward] = [time.forward, time.backward].map(percent);
            writeln!(
                f,
                "{name:20} {:5} {forward:6.1} % {backward:7.1} %",
                time.calls
            )?;
        }
        let total = self.total.as_secs_f64();
        write!(
            f,
            "{:20} {:16.1} % of {total:.3} s",
            "all else",
            percent(remainder)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear;
    use crate::testing::random;
    use burn::tensor::Device;

    #[test]
    fn operations_are_counted_while_the_work_runs() {
        let device = Device::flex().autodiff();
        let [input, weight] = [1, 2].map(|seed| random([300, 300], seed, &device).require_grad());
        let run = || linear(input.clone(), weight.clone(), None).sum().backward();
        let (_, profile) = Profile::measure(|| drop([run(), run()]));
        drop(run());
        let time = profile.operations["Linear"];
        // Other tests run at the same time.
        assert!(time.calls >= 2 && time.forward > Duration::ZERO && time.backward > Duration::ZERO);
        assert!(time.forward < 100 * profile.total);
        let table = profile.to_string();
        assert!(
            table.contains("Linear") && table.contains("all else"),
            "{table}"
        );
    }
}
