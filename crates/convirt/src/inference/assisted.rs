//! An embedding that several peers divide: the leader's side and that of its assistants.

use std::collections::VecDeque;
use std::mem;
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
pub(super) struct Assisted<'a> {
    peers: MutexGuard<'a, Peers>,
    shares: Vec<Share>,
    /// Positions of images that assistants have left out.
    unreadable: Vec<usize>,
}

/// What is known of a peer's share.
#[derive(Default)]
struct Share {
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

impl ImageModel {
    /// Asks the assistants, if there are any, to embed their shares of more than one batch.
    pub(super) fn assisted(
        &self,
        has_one_batch: bool,
        loader: &LoaderConfig,
        items: impl FnOnce() -> Items,
    ) -> Result<Option<Assisted<'_>>, Error> {
        match &self.assistants {
            Some(assistants) if !has_one_batch => Assisted::begin(assistants, self, loader, items),
            _ => Ok(None),
        }
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
        let mut shares = Vec::new();
        shares.resize_with(peers.size(), Share::default);
        Ok(Some(Self {
            peers,
            shares,
            unreadable: Vec::new(),
        }))
    }

    /// Returns the number of the leader's share.
    pub fn rank(&self) -> usize {
        self.peers.rank()
    }

    /// Returns the number of shares.
    pub fn size(&self) -> usize {
        self.peers.size()
    }

    /// Returns the positions of the images that assistants have left out since the last call.
    pub fn take_unreadable(&mut self) -> Vec<usize> {
        mem::take(&mut self.unreadable)
    }

    /// Returns how many items have been embedded or left out by all.
    pub fn done(&self) -> usize {
        self.shares.iter().map(|share| share.done).sum()
    }

    /// Returns the next batch of all; `own` computes the next part of the leader's share.
    pub fn next(
        &mut self,
        mut own: impl FnMut() -> Result<Part, Error>,
    ) -> Result<Option<EmbeddedBatch>, Error> {
        while self.shares.iter().any(Share::is_unknown) {
            self.peers.lead(Some(true))?;
            let own = own();
            // The assistants wait for this even if the leader's part is an error.
            let mut parts = self.peers.report(&Part::end())?;
            parts[self.peers.rank()] = Part {
                unreadable: Vec::new(),
                ..own?
            };
            for (share, part) in self.shares.iter_mut().zip(parts) {
                share.done = part.done;
                share.has_ended = part.batch.is_none();
                share.batches.extend(part.batch);
                self.unreadable.extend(part.unreadable);
            }
        }
        let first = |share: &&mut Share| share.batches.front().map(|batch| batch.indices[0]);
        let shares = self
            .shares
            .iter_mut()
            .filter(|share| !share.batches.is_empty());
        let next = shares.min_by_key(first);
        Ok(next.and_then(|share| share.batches.pop_front()))
    }
}

impl Drop for Assisted<'_> {
    fn drop(&mut self) {
        // A peer that cannot be reached is an error of the next embedding.
        let _ = self.peers.lead(Some(false));
    }
}

impl Share {
    /// Returns whether an earlier batch than those of other peers may follow.
    fn is_unknown(&self) -> bool {
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
            AnyModel::Image(tower) => AnyModel::Image(Box::new(tower.with_precision(precision)?)),
            AnyModel::Both(model) => AnyModel::Both(Box::new(model.with_precision(precision)?)),
        };
        if model.image_tower().identity()?.checksum != checksum {
            return Err(InferenceError::OtherModel { path: weights }.into());
        }
        let share = (peers.rank(), peers.size());
        match items {
            Items::Images(paths) => {
                let paths: Vec<PathBuf> = paths.iter().map(|path| path_from_text(path)).collect();
                // The leader counts what all leave out.
                let tower = model.image_tower();
                let mut embedded = tower.embed_images(paths, &loader, 1.0)?.of_share(share);
                serve(peers, || embedded.next_part())?;
            }
            Items::Texts(texts) => {
                let AnyModel::Both(model) = &model else {
                    unreachable!("texts need both sides");
                };
                let mut embedded = model.embed_texts(&texts, &loader)?.of_share(share);
                serve(peers, || embedded.next_part())?;
            }
        }
        self.model = Some(model);
        Ok(())
    }
}

/// Sends part after part, as long as the leader wants more.
fn serve(peers: &Peers, mut next: impl FnMut() -> Result<Part, Error>) -> Result<(), Error> {
    while peers.lead(None)? {
        peers.report(&next()?)?;
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
