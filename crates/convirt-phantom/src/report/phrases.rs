//! The phrases with which a report can name each finding.
//!
//! Templates have the slots `{side}`, `{size}`, `{zone}`, `{measure}` and `{leads}`. A noun with an
//! article begins with "a ".

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::chest::{Access, Extent, Finding, Severity, Side, Volume, Zone};

type Phrases = &'static [&'static str];

/// A noun phrase that names a finding, such as `a small left pleural effusion`.
#[derive(Debug, Clone)]
pub(crate) struct Noun {
    /// Without article.
    pub bare: String,
    /// With its article, if it takes one.
    pub full: String,
    pub plural: bool,
}

/// Returns a noun phrase for `finding`, on both sides if `bilateral`; `None` for findings that are
/// only described in whole sentences.
pub(crate) fn noun(finding: &Finding, bilateral: bool, rng: &mut ChaCha8Rng) -> Option<Noun> {
    let templates: Phrases = match finding {
        Finding::Cardiomegaly {
            severity: Severity::Mild,
        } => &[
            "mild cardiomegaly",
            "mild enlargement of the cardiac silhouette",
            "mild cardiac enlargement",
        ],
        Finding::Cardiomegaly {
            severity: Severity::Severe,
        } => &[
            "severe cardiomegaly",
            "marked cardiomegaly",
            "marked enlargement of the cardiac silhouette",
        ],
        Finding::Effusion { .. } if bilateral => &[
            "{size} bilateral pleural effusions",
            "bilateral pleural effusions, {size} in size,",
        ],
        Finding::Effusion { .. } => &[
            "a {size} {side} pleural effusion",
            "a {size} {side}-sided pleural effusion",
            "a {size} pleural effusion on the {side}",
            "a {side} pleural effusion, {size} in size,",
        ],
        Finding::Consolidation {
            extent: Extent::Small,
            ..
        } => &[
            "a patchy {zone} opacity",
            "a small {zone} consolidation",
            "patchy airspace opacity in the {zone}",
            "faint consolidation in the {zone}",
        ],
        Finding::Consolidation {
            extent: Extent::Moderate,
            ..
        } => &[
            "a moderate {zone} consolidation",
            "airspace consolidation in the {zone}",
            "focal consolidation in the {zone}",
        ],
        Finding::Consolidation {
            extent: Extent::Large,
            ..
        } => &[
            "a dense {zone} consolidation",
            "a large {zone} airspace opacity",
            "extensive consolidation of the {zone}",
        ],
        Finding::Nodule { .. } => &[
            "a {measure} nodule in the {zone}",
            "a {measure} {zone} nodule",
            "a {measure} round nodular opacity in the {zone}",
        ],
        Finding::Pneumothorax { .. } => &[
            "a {size} {side} pneumothorax",
            "a {size} {side}-sided pneumothorax",
            "a {size} pneumothorax on the {side}",
        ],
        Finding::RaisedDiaphragm { .. } => &[
            "elevation of the {side} hemidiaphragm",
            "an elevated {side} hemidiaphragm",
        ],
        Finding::LungVolumes(Volume::Low) => &["low lung volumes", "low inspiratory volumes"],
        Finding::LungVolumes(Volume::High) => {
            &["hyperinflation of the lungs", "pulmonary hyperinflation"]
        }
        Finding::Scoliosis { .. } => &[
            "thoracic scoliosis convex to the {side}",
            "{side} convex curvature of the thoracic spine",
        ],
        _ => return None,
    };
    let full = fill(pick(templates, rng), finding, bilateral, rng);
    let bare = ["a ", "an "]
        .iter()
        .find_map(|article| full.strip_prefix(article));
    Some(Noun {
        bare: bare.unwrap_or(&full).to_string(),
        plural: bilateral || full.ends_with("volumes"),
        full,
    })
}

/// Returns a whole sentence on `finding`, on both sides if `bilateral`.
pub(crate) fn statement(finding: &Finding, bilateral: bool, rng: &mut ChaCha8Rng) -> String {
    let templates: Phrases = match finding {
        Finding::Cardiomegaly {
            severity: Severity::Mild,
        } => &[
            "The heart is mildly enlarged.",
            "Heart size is mildly increased.",
        ],
        Finding::Cardiomegaly {
            severity: Severity::Severe,
        } => &[
            "The heart is severely enlarged.",
            "The cardiac silhouette is markedly enlarged.",
        ],
        Finding::Effusion { .. } if bilateral => {
            &["There is pleural effusion on the right and left, {size} on both sides."]
        }
        Finding::Effusion {
            extent: Extent::Small,
            ..
        } => &["Blunting of the {side} costophrenic angle reflects a small pleural effusion."],
        Finding::Effusion { .. } => {
            &["Opacification of the {side} base reflects a {size} layering pleural effusion."]
        }
        Finding::Consolidation { .. } => &[
            "Opacity in the {zone} is concerning for pneumonia.",
            "Opacity in the {zone} may reflect pneumonia vs. aspiration.",
        ],
        Finding::Nodule { .. } => &["A nodule projecting over the {zone} measures {measure}."],
        Finding::Pneumothorax { .. } => {
            &["A visible {side} pleural line indicates a {size} pneumothorax."]
        }
        Finding::EndotrachealTube { .. } => &[
            "Endotracheal tube tip terminates {measure} above the carina.",
            "ETT tip is {measure} above the carina.",
            "The patient is intubated, with the endotracheal tube {measure} above the carina.",
        ],
        Finding::GastricTube => &[
            "An enteric tube passes below the diaphragm with its tip in the stomach.",
            "NG tube tip projects over the stomach.",
            "A nasogastric tube courses into the stomach.",
        ],
        Finding::CentralLine {
            access: Access::Jugular,
            ..
        } => &[
            "A {side} internal jugular central venous line ends in the SVC.",
            "{side} IJ central line tip is in the mid SVC.",
            "Central venous catheter from a {side} jugular approach terminates in the SVC.",
        ],
        Finding::CentralLine {
            access: Access::Arm,
            ..
        } => &[
            "A {side} PICC ends in the lower SVC.",
            "{side}-sided PICC line tip terminates in the SVC.",
            "A {side} upper extremity PICC line projects over the cavoatrial junction.",
        ],
        Finding::Pacemaker { .. } => &[
            "A {side} chest wall pacemaker has {leads}.",
            "{side} pectoral pacemaker with {leads}.",
            "A {side}-sided pacing device with {leads} is in place.",
        ],
        Finding::SternotomyWires => &[
            "Median sternotomy wires are intact.",
            "The patient is status post median sternotomy.",
            "Sternotomy wires are aligned.",
        ],
        Finding::LungVolumes(Volume::Low) => &[
            "Lung volumes are low.",
            "Lung volumes are low with crowding of the bronchovascular markings.",
        ],
        Finding::LungVolumes(Volume::High) => &[
            "The lungs are hyperinflated.",
            "The lungs are hyperinflated with flattened diaphragms, suggesting COPD.",
        ],
        Finding::RaisedDiaphragm { .. } => &["The {side} hemidiaphragm is elevated."],
        Finding::Scoliosis {
            convex: Side::Right,
        } => &["Dextroscoliosis convex to the right."],
        Finding::Scoliosis { convex: Side::Left } => &["Levoscoliosis convex to the left."],
    };
    fill(pick(templates, rng), finding, bilateral, rng)
}

/// Returns a sentence that reports the removal of a device.
pub(crate) fn removal(finding: &Finding, rng: &mut ChaCha8Rng) -> String {
    let templates: Phrases = match finding {
        Finding::EndotrachealTube { .. } => &[
            "The endotracheal tube has been removed.",
            "The patient has been extubated.",
        ],
        Finding::GastricTube => &["The enteric tube has been removed."],
        Finding::CentralLine {
            access: Access::Arm,
            ..
        } => &["The {side} PICC has been removed."],
        _ => &["The {side} central line has been removed."],
    };
    fill(pick(templates, rng), finding, false, rng)
}

/// Returns a random one of `phrases`.
pub(crate) fn pick(phrases: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    phrases[rng.random_range(0..phrases.len())]
}

/// Fills the slots of `template` with the facts of `finding`.
fn fill(template: &str, finding: &Finding, bilateral: bool, rng: &mut ChaCha8Rng) -> String {
    let mut text = template.to_string();
    for (slot, word) in facts(finding, bilateral, rng) {
        text = text.replace(slot, &word);
    }
    // The article depends on the sound; only these words follow one here.
    for word in [
        "approximately",
        "approx.",
        "elevated",
        "8 mm",
        "11 mm",
        "18 mm",
    ] {
        text = text.replace(&format!("a {word}"), &format!("an {word}"));
    }
    text
}

fn facts(finding: &Finding, bilateral: bool, rng: &mut ChaCha8Rng) -> Vec<(&'static str, String)> {
    let side = |side: Side| {
        (
            "{side}",
            if bilateral { "both" } else { side_word(side) }.to_string(),
        )
    };
    match finding {
        Finding::Effusion { side: s, extent } | Finding::Pneumothorax { side: s, extent } => {
            vec![side(*s), ("{size}", extent_word(*extent).to_string())]
        }
        Finding::Consolidation { spot, .. } => {
            vec![(
                "{zone}",
                pick(zone_words(spot.side, spot.zone), rng).to_string(),
            )]
        }
        Finding::Nodule { spot, millimetres } => vec![
            (
                "{zone}",
                pick(zone_words(spot.side, spot.zone), rng).to_string(),
            ),
            ("{measure}", length(*millimetres, rng)),
        ],
        Finding::EndotrachealTube { above_carina } => {
            vec![("{measure}", length(*above_carina, rng))]
        }
        Finding::CentralLine { side: s, .. }
        | Finding::RaisedDiaphragm { side: s }
        | Finding::Scoliosis { convex: s } => vec![side(*s)],
        Finding::Pacemaker { side: s, leads } => vec![
            side(*s),
            ("{leads}", pick(lead_words(*leads), rng).to_string()),
        ],
        _ => Vec::new(),
    }
}

/// Returns a length in cm or mm, as reports write it, with a precision of 1 mm.
fn length(millimetres: u32, rng: &mut ChaCha8Rng) -> String {
    let centimetres = format!("{}.{} cm", millimetres / 10, millimetres % 10);
    match rng.random_range(0..5) {
        0 => format!("approximately {centimetres}"),
        1 => format!("approx. {centimetres}"),
        2 => format!("{millimetres} mm"),
        _ => centimetres,
    }
}

/// Returns the word for a side.
pub(crate) fn side_word(side: Side) -> &'static str {
    match side {
        Side::Right => "right",
        Side::Left => "left",
    }
}

fn extent_word(extent: Extent) -> &'static str {
    match extent {
        Extent::Small => "small",
        Extent::Moderate => "moderate",
        Extent::Large => "large",
    }
}

fn zone_words(side: Side, zone: Zone) -> Phrases {
    match (side, zone) {
        (Side::Right, Zone::Upper) => &["right upper lobe", "right upper lung", "RUL"],
        (Side::Right, Zone::Mid) => &["right mid lung", "right mid zone"],
        (Side::Right, Zone::Lower) => &["right lower lobe", "right lung base", "RLL"],
        (Side::Left, Zone::Upper) => &["left upper lobe", "left upper lung", "LUL"],
        (Side::Left, Zone::Mid) => &["left mid lung", "left mid zone"],
        (Side::Left, Zone::Lower) => &["left lower lobe", "left lung base", "LLL"],
    }
}

fn lead_words(leads: u32) -> Phrases {
    match leads {
        1 => &["a single lead", "a single ventricular lead", "one lead"],
        _ => &["two leads", "dual leads", "atrial and ventricular leads"],
    }
}
