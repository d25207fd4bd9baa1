//! Held-out images with their texts, and where the model sees what they say.

use std::fmt::Write;

use burn::tensor::{Tensor, TensorData};
use convirt_data::{EvaluationLoader, ImageView, Radiograph, Thumbnail};
use convirt_model::ConVirt as Network;

use super::heat_map::HeatMap;
use super::held_out::{HeldOut, Ranking};
use crate::error::Error;
use crate::html::{Escaped, image};

/// Images of each kind.
const EACH: usize = 4;

/// Sentences of a report that get a heat map.
const SENTENCES: usize = 3;

/// Draws the images that the model is right about, narrowly wrong, and wrong and sure; the first
/// and the last with heat maps.
pub(super) fn draw(
    network: &Network,
    loader: &EvaluationLoader,
    pairs: &HeldOut,
    texts: &[&str],
) -> Result<String, Error> {
    let gallery = pairs.gallery(EACH);
    let kinds = [
        ("Right", "The model finds their text first, by the widest margin.", &gallery.right),
        ("Wrong", "Another text comes first, by the narrowest margin.", &gallery.wrong),
        ("Most surprising", "Another text comes first, by the widest margin: either the model or the report errs.", &gallery.surprising),
    ];
    let mut page = String::new();
    for (title, explanation, rankings) in kinds {
        let _ = write!(page, "<h2>{title}</h2><p>{explanation}</p>");
        if rankings.is_empty() {
            page.push_str("<p>None among the held-out pairs.</p>");
        }
        page.push_str("<div class=\"gallery\">");
        for ranking in rankings {
            page.push_str(&card(loader, pairs, texts, ranking)?);
        }
        page.push_str("</div>");
    }
    page.push_str(
        "<h2>Where the model sees it</h2><p>Each place of the image encoder's last map, projected \
         like a whole image and compared with a sentence: orange agrees more than the image's mean, \
         blue less. Below each picture the sentence, and the similarity of the coldest and the \
         warmest place.</p>",
    );
    for ranking in gallery.right.iter().chain(&gallery.surprising) {
        page.push_str(&heat_maps(network, loader, pairs.indices[ranking.image])?);
    }
    Ok(page)
}

fn card(
    loader: &EvaluationLoader,
    pairs: &HeldOut,
    texts: &[&str],
    ranking: &Ranking,
) -> Result<String, Error> {
    let (_, view) = seen(loader, pairs.indices[ranking.image])?;
    let text = |number: usize| {
        let similarity = pairs.similarity(ranking.image, number);
        let text = Escaped(texts[pairs.image_of[number]]);
        format!("<span class=\"text\">{text}</span><span class=\"score\">similarity {similarity:.3}</span>")
    };
    Ok(format!(
        "<div class=\"card\">{}<p><b>Its report</b>, rank {} of {}<br>{}</p>\
         <p><b>The nearest other</b><br>{}</p></div>",
        image(&Thumbnail::whole(&view), "held-out image"),
        ranking.rank,
        pairs.image_of.len(),
        text(pairs.text_of[ranking.image]),
        text(ranking.best_other),
    ))
}

fn heat_maps(network: &Network, loader: &EvaluationLoader, index: usize) -> Result<String, Error> {
    let (input, view) = seen(loader, index)?;
    let side = view.width();
    let device = loader.device();
    let input = Tensor::<4>::from_data(TensorData::new(input, [1, 3, side, side]), device);
    let mut row = format!("<div class=\"heat\"><figure>{}</figure>", image(&Thumbnail::whole(&view), "held-out image"));
    let dataset = loader.dataset();
    let report = &dataset.studies()[index].report;
    for sentence in report.sentences.iter().take(SENTENCES) {
        let text = loader.embed_text(network, sentence)?;
        let map = HeatMap::new(network, input.clone(), &text);
        let (low, high) = map.range();
        let _ = write!(
            row,
            "<figure>{}<figcaption>{} <span class=\"score\">{low:.2} to {high:.2}</span></figcaption></figure>",
            image(&Thumbnail::whole(&map.over(&view)), "heat map"),
            Escaped(sentence)
        );
    }
    row.push_str("</div>");
    Ok(row)
}

/// What the network sees of a study's image, as numbers and to look at.
fn seen(loader: &EvaluationLoader, index: usize) -> Result<(Vec<f32>, Radiograph), Error> {
    let dataset = loader.dataset();
    let image = dataset.image(index)?;
    let ImageView::Evaluation(transform) = &dataset.config().image else {
        unreachable!("held-out images are seen as they are");
    };
    Ok((transform.apply(&image), transform.view(&image)))
}
