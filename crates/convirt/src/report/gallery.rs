//! Held-out images with their texts, and where the model sees what these say.

use std::fmt::Write;

use convirt_data::{Study, Thumbnail};

use super::heat_map::HeatMap;
use super::held_out::{HeldOut, Ranking};
use crate::error::Error;
use crate::html::{Escaped, image};
use crate::pretrained::ConVirt;

/// Images of each kind.
const EACH: usize = 4;

/// Sentences of a report that get a heat map.
const SENTENCES: usize = 3;

/// Draws the images that the model is right about, narrowly wrong, and wrong and sure; the first
/// and the last with heat maps.
pub(super) fn draw(model: &ConVirt, pairs: &HeldOut<'_>) -> Result<String, Error> {
    let gallery = pairs.gallery(EACH);
    let mut page = String::new();
    for (title, meaning, rankings) in [
        (
            "Right",
            "Their own text comes first, by the widest margin.",
            &gallery.right,
        ),
        (
            "Wrong",
            "Another text comes first, by the narrowest margin.",
            &gallery.wrong,
        ),
        (
            "Most surprising",
            "Another text comes first, by the widest margin: model or report errs.",
            &gallery.surprising,
        ),
    ] {
        let _ = write!(page, "<h2>{title}</h2><p>{meaning}</p>");
        if rankings.is_empty() {
            page.push_str("<p class=\"faint\">None.</p>");
            continue;
        }
        page.push_str("<div class=\"gallery\">");
        for ranking in rankings {
            page.push_str(&card(model, pairs, ranking)?);
        }
        page.push_str("</div>");
    }
    page.push_str(
        "<h2>Where the model sees it</h2><p>Each place of the image encoder's last map, projected \
         as if it were the whole image and compared with a sentence of the report: orange agrees \
         more than the mean place, blue less. Numbers are the similarities of the coldest and the \
         warmest place.</p>",
    );
    for ranking in gallery.right.iter().chain(&gallery.surprising) {
        page.push_str(&heat_maps(model, pairs.study(ranking.image))?);
    }
    Ok(page)
}

fn card(model: &ConVirt, pairs: &HeldOut<'_>, ranking: &Ranking) -> Result<String, Error> {
    let (_, view) = model.image_tower().see(&pairs.study(ranking.image).image)?;
    let text = |text: usize| {
        format!(
            "<span class=\"text\">{}</span><span class=\"score\">similarity {:.3}</span>",
            Escaped(pairs.text(text)),
            pairs.similarity(ranking.image, text)
        )
    };
    Ok(format!(
        "<div class=\"card\">{}<p><b>Its report</b>, rank {} of {}<br>{}</p>\
         <p><b>The nearest other</b><br>{}</p></div>",
        image(&Thumbnail::whole(&view), "held-out image"),
        ranking.rank,
        pairs.texts().count(),
        text(pairs.text_of(ranking.image)),
        text(ranking.best_other),
    ))
}

fn heat_maps(model: &ConVirt, study: &Study) -> Result<String, Error> {
    let (input, view) = model.image_tower().see(&study.image)?;
    let mut row = format!(
        "<div class=\"heat\"><figure>{}</figure>",
        image(&Thumbnail::whole(&view), "held-out image")
    );
    for sentence in study.report.sentences.iter().take(SENTENCES) {
        let text = model.embed_text(sentence)?;
        let map = HeatMap::new(model.network(), input.clone(), &text);
        let (low, high) = map.range();
        let _ = write!(
            row,
            "<figure>{}<figcaption>{} <span class=\"score\">{low:.2} to {high:.2}</span>\
             </figcaption></figure>",
            image(&Thumbnail::whole(&map.over(&view)), "heat map"),
            Escaped(sentence)
        );
    }
    row.push_str("</div>");
    Ok(row)
}
