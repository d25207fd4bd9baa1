//! An embedding that several peers divide: the leader's side and that of its assistants.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use burn::tensor::Device;
use convirt_data::{LoaderConfig, path_from_text, path_text};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::assistants::Assistants;
use super::embedded_batch::EmbeddedBatch;
use super::error::InferenceError;
use super::image_model::ImageModel;
use super::model::Model;
use crate::config::PrecisionName;
use crate::error::Error;
use crate::peers::{Peers, Work, devices_of_process};

/// What an assistant needs to know to embed its share.
#[derive(Serialize, Deserialize)]
struct Order {
    weights: String,
    /// Checksum of the model's identity.
    model: u32,
    devices: Option<String>,
    #[serde(with = "PrecisionName")]
    precision: Precision,
    loader: LoaderConfig,
    items: Items,
}

/// What to embed.
#[derive(Serialize, Deserialize)]
pub(super) enum Items {
    /// Paths of images.
    Images(Vec<String>),
    Texts(Vec<String>),
}

/// What one peer embeds, part by part.
pub(super) trait Share: Sized {
    /// Restricts it to that of one of several peers. Nothing may have been embedded yet.
    fn of_peer(self, rank: usize, size: usize) -> Self;

    /// Embeds the next part.
    fn next_part(&mut self) -> Result<Part, Error>;

    /// Returns how many items have been embedded or left out.
    fn done(&self) -> usize;

    /// Counts the images at some positions, which assistants have left out.
    fn add_unreadable(&mut self, _positions: Vec<usize>) -> Result<(), Error> {
        Ok(())
    }
}

/// The batches in the order of the items, embedded by this process alone or together with assistants.
pub(super) struct Batches<'a, S> {
    pub share: S,
    assisted: Option<Assisted<'a>>,
    /// Whether there was an error, after which nothing follows.
    has_failed: bool,
}

/// The next part of a peer's share.
#[derive(Serialize, Deserialize)]
pub(super) struct Part {
    /// `None` at the end of the share.
    pub batch: Option<EmbeddedBatch>,
    /// Positions of images that an assistant has left out since its last part.
    pub unreadable: Vec<usize>,
    /// Items of the share that have been embedded or left out.
    pub done: usize,
}

/// The leader's side: puts the shares together, in the order of the items.
struct Assisted<'a> {
    peers: MutexGuard<'a, Peers>,
    /// Of each peer.
    received: Vec<Received>,
}

/// What a peer has embedded of its share so far.
#[derive(Default)]
struct Received {
    /// Batches that wait for earlier ones of other peers.
    batches: VecDeque<EmbeddedBatch>,
    done: usize,
    has_ended: bool,
}

impl Items {
    pub fn images(paths: &[PathBuf]) -> Self {
        let paths = paths.iter().map(|path| path_text(path).into_owned());
        Self::Images(paths.collect())
    }

    pub fn texts(texts: &[impl AsRef<str>]) -> Self {
        Self::Texts(texts.iter().map(|text| text.as_ref().into()).collect())
    }
}

impl<'a, S: Share> Batches<'a, S> {
    /// Asks the assistants of a model, if there are any, to embed their shares of `items`, unless all
    /// is one part.
    pub fn begin(
        tower: &'a ImageModel,
        share: S,
        is_one_part: bool,
        loader: &LoaderConfig,
        items: impl FnOnce() -> Items,
    ) -> Result<Self, Error> {
        let assisted = match &tower.assistants {
            Some(assistants) if !is_one_part => Assisted::begin(assistants, tower, loader, items)?,
            _ => None,
        };
        let share = match &assisted {
            Some(Assisted { peers, .. }) => share.of_peer(peers.rank(), peers.size()),
            None => share,
        };
        Ok(Self {
            share,
            assisted,
            has_failed: false,
        })
    }

    /// Returns how many items have been embedded or left out by all.
    pub fn done(&self) -> usize {
        match &self.assisted {
            Some(assisted) => assisted.received.iter().map(|share| share.done).sum(),
            None => self.share.done(),
        }
    }
}

impl<S: Share> Iterator for Batches<'_, S> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = match &mut self.assisted {
            Some(assisted) => assisted.next(&mut self.share),
            None => self.share.next_part().map(|part| part.batch),
        };
        self.has_failed = next.is_err();
        next.transpose()
    }
}

impl<'a> Assisted<'a> {
    /// Asks the assistants to embed their shares. `None` if another embedding has not ended yet: this
    /// one is for the leader alone then.
    fn begin(
        assistants: &'a Assistants,
        tower: &ImageModel,
        loader: &LoaderConfig,
        items: impl FnOnce() -> Items,
    ) -> Result<Option<Self>, Error> {
        let Ok(peers) = assistants.peers.try_lock() else {
            return Ok(None);
        };
        let weights = std::path::absolute(&tower.weights);
        let order = Order {
            weights: path_text(weights.as_deref().unwrap_or(&tower.weights)).into_owned(),
            model: tower.identity()?.checksum,
            devices: assistants.device_names().map(String::from),
            precision: tower.precision(),
            loader: loader.clone(),
            items: items(),
        };
        peers.lead(Some(Work::Embed))?;
        peers.lead(Some(order))?;
        let mut received = Vec::new();
        received.resize_with(peers.size(), Received::default);
        Ok(Some(Self { peers, received }))
    }

    /// Returns the next batch of all; `own` is the leader's share.
    fn next(&mut self, own: &mut impl Share) -> Result<Option<EmbeddedBatch>, Error> {
        while self.received.iter().any(Received::is_waited_for) {
            self.peers.lead(Some(true))?;
            let own_part = own.next_part();
            // The assistants wait for this even if the leader's part is an error.
            let mut parts = self.peers.report(&Part::end())?;
            parts[self.peers.rank()] = Part {
                unreadable: Vec::new(),
                ..own_part?
            };
            for (received, part) in self.received.iter_mut().zip(parts) {
                received.done = part.done;
                received.has_ended = part.batch.is_none();
                received.batches.extend(part.batch);
                own.add_unreadable(part.unreadable)?;
            }
        }
        let first = |it: &&mut Received| it.batches.front().map(|batch| batch.indices[0]);
        let with_batches = (self.received.iter_mut()).filter(|it| !it.batches.is_empty());
        let next = with_batches.min_by_key(first);
        Ok(next.and_then(|received| received.batches.pop_front()))
    }
}

impl Drop for Assisted<'_> {
    fn drop(&mut self) {
        // A peer that cannot be reached is an error of the next embedding.
        let _ = self.peers.lead(Some(false));
    }
}

impl Received {
    /// Returns whether an earlier batch than those of other peers may follow.
    fn is_waited_for(&self) -> bool {
        self.batches.is_empty() && !self.has_ended
    }
}

impl Part {
    /// The part after the end of a share.
    fn end() -> Self {
        Self {
            batch: None,
            unreadable: Vec::new(),
            done: 0,
        }
    }
}

/// The side of an assistant, which keeps the last model that it has loaded.
pub(crate) struct EmbeddingAssistant {
    /// `None`: the leader names the devices.
    device: Option<Device>,
    model: Option<AnyModel>,
}

/// A model of which an assistant needs the image side or both.
enum AnyModel {
    Image(Box<ImageModel>),
    Both(Box<Model>),
}

impl EmbeddingAssistant {
    /// Creates an assistant with a device of its own, or one whose device the leader names.
    pub fn new(device: Option<Device>) -> Self {
        Self {
            device,
            model: None,
        }
    }

    /// Embeds a share of what the leader embeds.
    ///
    /// # Errors
    ///
    /// If the model cannot be loaded or is another one here, or an embedding is not finite.
    pub fn assist(&mut self, peers: &Peers) -> Result<(), Error> {
        let Order {
            weights,
            model: checksum,
            devices,
            precision,
            loader,
            items,
        } = peers.lead(None)?;
        let device = match &self.device {
            Some(device) => device.clone(),
            None => devices_of_process(devices.as_deref(), peers.size())?.0,
        };
        let weights = path_from_text(&weights);
        let needs_texts = matches!(items, Items::Texts(_));
        let model = match self.model.take() {
            Some(model) if model.serves(&weights, needs_texts) => model,
            _ if needs_texts => AnyModel::Both(Box::new(Model::load_on(&weights, &device)?)),
            _ => AnyModel::Image(Box::new(ImageModel::load_on(&weights, &device)?)),
        };
        let model = match model {
            AnyModel::Image(tower) => AnyModel::Image(Box::new(tower.with_precision(precision))),
            AnyModel::Both(model) => AnyModel::Both(Box::new(model.with_precision(precision))),
        };
        if model.image_tower().identity()?.checksum != checksum {
            return Err(InferenceError::OtherModel { path: weights }.into());
        }
        match items {
            Items::Images(paths) => {
                let paths: Vec<PathBuf> = paths.iter().map(|path| path_from_text(path)).collect();
                // The leader counts what all leave out.
                let tower = model.image_tower();
                serve(tower.embed_images(paths, &loader, 1.0)?.into_share(), peers)?;
            }
            Items::Texts(texts) => {
                let AnyModel::Both(model) = &model else {
                    unreachable!("texts need both sides");
                };
                serve(model.embed_texts(&texts, &loader)?.into_share(), peers)?;
            }
        }
        self.model = Some(model);
        Ok(())
    }
}

/// Sends part after part of a peer's share, as long as the leader wants more.
fn serve(all: impl Share, peers: &Peers) -> Result<(), Error> {
    let mut share = all.of_peer(peers.rank(), peers.size());
    while peers.lead(None)? {
        peers.report(&share.next_part()?)?;
    }
    Ok(())
}

impl AnyModel {
    fn serves(&self, weights: &Path, needs_texts: bool) -> bool {
        let has_texts = matches!(self, Self::Both(_));
        self.image_tower().weights == weights && (has_texts || !needs_texts)
    }

    fn image_tower(&self) -> &ImageModel {
        match self {
            Self::Image(tower) => tower,
            Self::Both(model) => model.image_tower(),
        }
    }
}
