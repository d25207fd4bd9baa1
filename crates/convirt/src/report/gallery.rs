//! Held-out images with their nearest texts, and heat maps of the sentences of their reports.

use std::fmt::Write;

use burn::tensor::Tensor;
use convirt_data::{Radiograph, Thumbnail};

use super::heat_map::Occlusion;
use super::held_out::{HeldOut, Ranking};
use super::html::{Escaped, enlargeable, folded};
use crate::error::Error;
use crate::inference::Model;

/// Maximum number of images of each kind.
const MAX_IMAGES: usize = 4;

/// Maximum number of sentences of a report with a heat map.
const MAX_SENTENCES: usize = 3;

/// An image of the gallery.
struct GalleryImage<'a> {
    ranking: &'a Ranking,
    /// The network's input, `[1, 3, size, size]`.
    input: Tensor<4>,
    /// The same pixels, as an image.
    view: Radiograph,
}

/// Draws images that the model ranks correctly, wrongly by a narrow margin, and wrongly by a wide
/// margin; the first and the last kind with heat maps.
pub(super) fn draw(model: &Model, pairs: &HeldOut<'_>) -> Result<String, Error> {
    let gallery = pairs.gallery(MAX_IMAGES);
    let read = |rankings| load_images(model, pairs, rankings);
    let right = read(&gallery.right)?;
    let wrong = read(&gallery.wrong)?;
    let surprising = read(&gallery.surprising)?;
    let mut page = String::new();
    for (title, meaning, images, none) in [
        (
            "Right",
            "Their own text comes first, by the widest margin.",
            &right,
            "None.",
        ),
        (
            "Wrong",
            "Another text comes first, by the narrowest margin.",
            &wrong,
            gallery.none_wrong(),
        ),
        (
            "Most surprising",
            "Another text comes first, by the widest margin: the model or the report is wrong.",
            &surprising,
            "None.",
        ),
    ] {
        let _ = write!(page, "<h2>{title}</h2><p>{meaning}</p>");
        if images.is_empty() {
            let _ = write!(page, "<p class=\"faint\">{none}</p>");
            continue;
        }
        page.push_str("<div class=\"gallery\">");
        page.extend(images.iter().map(|shown| card(pairs, shown)));
        page.push_str("</div>");
    }
    page.push_str(
        "<h2>Where the model sees it</h2><p>Each part of the image is hidden in turn. Orange: hiding \
         it lowers the similarity to the sentence; blue: hiding it raises it. Of each report, the \
         sentences that are most similar to the image are shown. A click enlarges an image.</p>\
         <p class=\"legend heat-legend\"><span>speaks against the sentence</span><i></i>\
         <span>speaks for it</span></p>",
    );
    for shown in right.iter().chain(&surprising) {
        page.push_str(&heat_maps(model, pairs, shown)?);
    }
    Ok(page)
}

fn load_images<'a>(
    model: &Model,
    pairs: &HeldOut<'_>,
    rankings: &'a [Ranking],
) -> Result<Vec<GalleryImage<'a>>, Error> {
    let read = |ranking: &'a Ranking| {
        let path = &pairs.study(ranking.image).image;
        let (input, view) = model.image_tower().load_with_view(path)?;
        Ok(GalleryImage {
            ranking,
            input,
            view,
        })
    };
    rankings.iter().map(read).collect()
}

fn card(pairs: &HeldOut<'_>, shown: &GalleryImage<'_>) -> String {
    let ranking = shown.ranking;
    let text = |text: usize| {
        format!(
            "{}<span class=\"score\">similarity {:.3}</span>",
            folded(pairs.text(text)),
            pairs.similarity(ranking.image, text)
        )
    };
    format!(
        "<div class=\"card\">{}<div><b>Its report</b>, rank {} of {}<br>{}</div>\
         <div><b>The nearest other</b><br>{}</div></div>",
        enlargeable(&Thumbnail::whole(&shown.view), "held-out image"),
        ranking.rank,
        pairs.texts(),
        text(pairs.text_of(ranking.image)),
        text(ranking.best_other),
    )
}

fn heat_maps(
    model: &Model,
    pairs: &HeldOut<'_>,
    shown: &GalleryImage<'_>,
) -> Result<String, Error> {
    let mut row = format!(
        "<div class=\"heat\"><figure>{}</figure>",
        enlargeable(&Thumbnail::whole(&shown.view), "held-out image")
    );
    let occlusion = Occlusion::new(&model.image_tower().network, shown.input.clone())?;
    let report = &pairs.study(shown.ranking.image).report;
    let mut sentences = Vec::new();
    for sentence in &report.sentences {
        let text = model.embed_text(sentence)?;
        sentences.push((occlusion.similarity(&text), sentence, text));
    }
    sentences.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    for (similarity, sentence, text) in sentences.into_iter().take(MAX_SENTENCES) {
        let map = occlusion.heat_map(&text);
        let _ = write!(
            row,
            "<figure>{}<figcaption>{} <span class=\"score\">similarity {similarity:.2}, changes by \
             {:.2} at most</span></figcaption></figure>",
            enlargeable(&Thumbnail::whole(&map.over(&shown.view)), "heat map"),
            Escaped(sentence),
            map.largest_change()
        );
    }
    row.push_str("</div>");
    Ok(row)
}
