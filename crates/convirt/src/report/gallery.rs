//! Held-out images with their texts, and where the model sees what these say.

use std::fmt::Write;

use burn::tensor::Tensor;
use convirt_data::{Radiograph, Thumbnail};

use super::heat_map::HeatMap;
use super::held_out::{HeldOut, Ranking};
use super::html::{Escaped, image};
use crate::error::Error;
use crate::inference::Model;

/// Images of each kind.
const EACH: usize = 4;

/// Sentences of a report that get a heat map.
const SENTENCES: usize = 3;

/// An image of the gallery, read once.
struct Shown<'a> {
    ranking: &'a Ranking,
    /// What the network sees of it, `[1, 3, size, size]`.
    input: Tensor<4>,
    /// The same to look at.
    view: Radiograph,
}

/// Draws the images that the model is right about, narrowly wrong, and wrong and sure; the first
/// and the last with heat maps.
pub(super) fn draw(model: &Model, pairs: &HeldOut<'_>) -> Result<String, Error> {
    let gallery = pairs.gallery(EACH);
    let read = |rankings| read(model, pairs, rankings);
    let right = read(&gallery.right)?;
    let wrong = read(&gallery.wrong)?;
    let surprising = read(&gallery.surprising)?;
    let mut page = String::new();
    for (title, meaning, images) in [
        (
            "Right",
            "Their own text comes first, by the widest margin.",
            &right,
        ),
        (
            "Wrong",
            "Another text comes first, by the narrowest margin.",
            &wrong,
        ),
        (
            "Most surprising",
            "Another text comes first, by the widest margin: model or report errs.",
            &surprising,
        ),
    ] {
        let _ = write!(page, "<h2>{title}</h2><p>{meaning}</p>");
        if images.is_empty() {
            page.push_str("<p class=\"faint\">None.</p>");
            continue;
        }
        page.push_str("<div class=\"gallery\">");
        page.extend(images.iter().map(|shown| card(pairs, shown)));
        page.push_str("</div>");
    }
    page.push_str(
        "<h2>Where the model sees it</h2><p>Each place of the image encoder's last map, projected \
         as if it were the whole image and compared with a sentence of the report: orange agrees \
         more than the mean place, blue less. Numbers are the similarities of the coldest and the \
         warmest place.</p>",
    );
    for shown in right.iter().chain(&surprising) {
        page.push_str(&heat_maps(model, pairs, shown)?);
    }
    Ok(page)
}

fn read<'a>(
    model: &Model,
    pairs: &HeldOut<'_>,
    rankings: &'a [Ranking],
) -> Result<Vec<Shown<'a>>, Error> {
    let read = |ranking: &'a Ranking| {
        let path = &pairs.study(ranking.image).image;
        let (input, view) = model.image_tower().load_with_view(path)?;
        Ok(Shown {
            ranking,
            input,
            view,
        })
    };
    rankings.iter().map(read).collect()
}

fn card(pairs: &HeldOut<'_>, shown: &Shown<'_>) -> String {
    let ranking = shown.ranking;
    let text = |text: usize| {
        format!(
            "<span class=\"text\">{}</span><span class=\"score\">similarity {:.3}</span>",
            Escaped(pairs.text(text)),
            pairs.similarity(ranking.image, text)
        )
    };
    format!(
        "<div class=\"card\">{}<p><b>Its report</b>, rank {} of {}<br>{}</p>\
         <p><b>The nearest other</b><br>{}</p></div>",
        image(&Thumbnail::whole(&shown.view), "held-out image"),
        ranking.rank,
        pairs.texts(),
        text(pairs.text_of(ranking.image)),
        text(ranking.best_other),
    )
}

fn heat_maps(model: &Model, pairs: &HeldOut<'_>, shown: &Shown<'_>) -> Result<String, Error> {
    let mut row = format!(
        "<div class=\"heat\"><figure>{}</figure>",
        image(&Thumbnail::whole(&shown.view), "held-out image")
    );
    let report = &pairs.study(shown.ranking.image).report;
    for sentence in report.sentences.iter().take(SENTENCES) {
        let text = model.embed_text(sentence)?;
        let map = HeatMap::new(model.network(), shown.input.clone(), &text)?;
        let (low, high) = map.range();
        let _ = write!(
            row,
            "<figure>{}<figcaption>{} <span class=\"score\">{low:.2} to {high:.2}</span>\
             </figcaption></figure>",
            image(&Thumbnail::whole(&map.over(&shown.view)), "heat map"),
            Escaped(sentence)
        );
    }
    row.push_str("</div>");
    Ok(row)
}
