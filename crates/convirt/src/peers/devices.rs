//! The devices that a process computes on.

use burn::tensor::Device;

use super::launcher::local_rank;
use crate::compute::devices;
use crate::error::Error;

/// Returns this process' own device and those of its assistants, of a list of names, separated by
/// commas.
///
/// Of several processes, those of each machine take one device each, in the order of the names, and
/// have no assistants of their own.
pub(crate) fn devices_of_process(
    names: Option<&str>,
    processes: usize,
) -> Result<(Device, Vec<Device>), Error> {
    let mut devices = devices(names)?;
    if processes > 1 {
        let own = local_rank() % devices.len();
        return Ok((devices.swap_remove(own), Vec::new()));
    }
    let others = devices.split_off(1);
    Ok((devices.remove(0), others))
}
