//! The devices and processes that embed large sets together.

use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use burn::tensor::Device;
use convirt_ops::Precision;

use super::assisted::EmbeddingAssistant;
use crate::compute::{describe_device, device_name};
use crate::error::Error;
use crate::peers::{Peers, Work, devices_of_process};

/// Several devices of this process, or several processes that `mpirun` or `srun` has started, which
/// divide the embedding of large sets.
///
/// Each computes its share of the batches. The batches are those of one device, so that the
/// embeddings on the CPU are the same to the bit. The other processes call
/// [`assist`](crate::assist); dropping this ends them.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use std::path::PathBuf;
/// use std::sync::Arc;
///
/// use convirt::ImageModel;
/// use convirt::data::LoaderConfig;
/// use convirt::inference::Assistants;
///
/// let assistants = Assistants::find(Some("cuda:0,cuda:1"))?;
/// let model = ImageModel::load_on("runs/2026-01-16_02-27-36_phantom", assistants.device())?;
/// let model = model.with_assistants(Arc::new(assistants));
/// let paths: Vec<PathBuf> = (0..10_000).map(|i| format!("{i}.png").into()).collect();
/// for batch in model.embed_images(paths, &LoaderConfig::default(), 0.01)? {
///     println!("{:?}", batch?.indices);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Assistants {
    device: Device,
    names: Option<String>,
    /// The devices of the threads.
    others: Vec<Device>,
    /// The leader's connection, which one embedding at a time uses.
    pub(super) peers: Mutex<Peers>,
    size: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Assistants {
    /// Finds the devices of a list of names, separated by commas, as [`device`](crate::device) does,
    /// and starts a thread for each but the first. If several processes were started together, it
    /// connects them instead: each takes the device with its number on its machine.
    ///
    /// # Errors
    ///
    /// Those of [`device`](crate::device), and [`PeerError`](crate::PeerError) if this build cannot
    /// connect processes, or they have worked together before.
    pub fn find(devices: Option<&str>) -> Result<Self, Error> {
        let processes = Peers::processes()?;
        let (device, others) = devices_of_process(devices, processes.size())?;
        let (mut peers, mut threads) = (processes, Vec::new());
        if !others.is_empty() {
            let mut connected = Peers::threads(1 + others.len()).into_iter();
            peers = connected.next().expect("there is at least one peer");
            let devices = others.iter().cloned();
            let assist = |(peers, device): (Peers, Device)| {
                thread::spawn(move || match assist_in_thread(&peers, device) {
                    Ok(()) => peers.end(),
                    // The leader tells of it.
                    Err(error) => peers.leave(&error.to_string()),
                })
            };
            threads.extend(connected.zip(devices).map(assist));
        }
        Ok(Self {
            device,
            names: devices.map(String::from),
            others,
            size: peers.size(),
            peers: Mutex::new(peers),
            threads,
        })
    }

    /// Returns this process' own device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the number of devices and processes, this one among them.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Describes the devices, the number of processes and a precision, in lines for people, as
    /// [`describe_device`] does.
    pub fn describe(&self, precision: Precision) -> String {
        let mut lines = describe_device(&self.device, precision);
        if !self.others.is_empty() {
            let others: Vec<_> = self.others.iter().map(device_name).collect();
            lines += &format!("{:<16}{}\n", "with", others.join(", "));
        } else if self.size > 1 {
            lines += &format!("{:<16}{}\n", "processes", self.size);
        }
        lines
    }

    /// Returns the names of the devices as they were given.
    pub(super) fn device_names(&self) -> Option<&str> {
        self.names.as_deref()
    }
}

fn assist_in_thread(peers: &Peers, device: Device) -> Result<(), Error> {
    let mut assistant = EmbeddingAssistant::new(Some(device));
    while peers.lead::<Work>(None)? == Work::Embed {
        assistant.assist(peers)?;
    }
    Ok(())
}

impl Drop for Assistants {
    fn drop(&mut self) {
        match self.peers.get_mut() {
            Ok(peers) => {
                if peers.lead(Some(Work::End)).is_ok() {
                    peers.end();
                }
            }
            // The others may wait in the middle of an exchange.
            Err(poisoned) => poisoned.into_inner().leave("the leader panicked"),
        }
        for thread in self.threads.drain(..) {
            // A panic of a thread has been printed, and its peers know that it is gone.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_panic_of_the_leader_ends_the_others() {
        let assistants = Assistants::find(Some("flex,flex")).unwrap();
        let panics = || {
            let _embedding = assistants.peers.lock().unwrap();
            panic!("of the test");
        };
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        let (sender, ended) = channel();
        thread::spawn(move || {
            drop(assistants);
            sender.send(())
        });
        ended
            .recv_timeout(Duration::from_secs(60))
            .expect("they do not wait for it");
    }
}
