//! The description of a configuration's model.

use convirt_model::{ConVirtConfig, NtXentLossConfig, ResNetConfig, SimClrConfig};

use super::text_encoder::TextTower;
use crate::config::Config;
use crate::inference::Description;
use crate::network::NetworkConfig;

/// Returns the description of a model: its networks and their inputs. Without a text tower, the
/// network is SimCLR's.
pub(super) fn describe(config: &Config, tower: Option<&TextTower>) -> Description {
    let model = &config.model;
    let image = ResNetConfig::new(model.res_base_model);
    Description {
        model_type: None,
        objective: config.objective,
        network: match tower {
            Some(tower) => NetworkConfig::ConVirt(ConVirtConfig {
                d_embedding: model.out_dim,
                pooling: model.pooling,
                pooling_layer: model.pooling_layer,
                loss: config.loss,
                freeze_embeddings: model.freeze_embeddings,
                freeze_layers: model.freeze_layers.clone(),
                ..ConVirtConfig::new(image, tower.config.clone())
            }),
            None => NetworkConfig::SimClr(SimClrConfig {
                image,
                d_embedding: model.out_dim,
                loss: NtXentLossConfig {
                    temperature: config.loss.temperature,
                },
            }),
        },
        image_size: config.image_size(),
        eval_resize: config.dataset.eval_resize,
        longer_side: config.dataset.longer_side,
        exif_orientation: config.dataset.exif_orientation,
        max_tokens: tower.map(|tower| model.longest_text(tower.config.max_tokens())),
    }
}
