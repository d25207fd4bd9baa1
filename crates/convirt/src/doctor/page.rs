//! The HTML page of a diagnosis.

use std::fmt::Write;
use std::path::Path;

use convirt_data::{Diagnosis, Finding, FindingKind, Findings, Severity};

use crate::datasets::setting_key;
use crate::report::{Escaped, folded, image, page, tiles};

/// Returns a diagnosis as a self-contained HTML page, with thumbnails of the images and with texts.
pub fn doctor_page(diagnosis: &Diagnosis) -> String {
    let manifest = diagnosis.manifest().display().to_string();
    let mut body = format!(
        "<h1>Doctor</h1>\n<p class=\"path\">{}</p>\n",
        Escaped(&manifest)
    );
    body += &verdict(diagnosis);
    body += &figures(diagnosis);
    if !diagnosis.findings().is_empty() {
        body += &overview(diagnosis);
    }
    if has_texts(diagnosis) {
        body += "<p class=\"faint\">This page holds parts of reports. Texts with dates, numbers or \
                 addresses are left out; names are not recognized.</p>\n";
    }
    for unchecked in diagnosis.unchecked() {
        body += &format!(
            "<p class=\"faint\">Not checked: {}</p>\n",
            Escaped(unchecked)
        );
    }
    for findings in diagnosis.findings() {
        body += &section(findings, diagnosis.manifest());
    }
    page(&format!("Doctor: {manifest}"), &body)
}

fn has_texts(diagnosis: &Diagnosis) -> bool {
    let findings = diagnosis.findings().iter();
    let mut examples = findings.flat_map(|findings| &findings.examples);
    examples.any(|finding| !finding.texts.is_empty())
}

fn verdict(diagnosis: &Diagnosis) -> String {
    let counts = Severity::ALL.map(|severity| {
        let count = diagnosis.count(severity);
        let class = if count > 0 {
            severity.to_string()
        } else {
            "faint".into()
        };
        format!("<span class=\"{class}\">{}</span>", severity.counted(count))
    });
    format!("<p>{}</p>\n", counts.join(", "))
}

fn figures(diagnosis: &Diagnosis) -> String {
    let numbers = diagnosis.counts();
    let mut figures: Vec<(String, usize)> = vec![
        ("rows".into(), numbers.rows),
        ("usable".into(), numbers.usable),
        ("images".into(), numbers.images),
    ];
    figures.extend(numbers.groups.map(|groups| ("groups".into(), groups)));
    if let Some(texts) = numbers.texts {
        let most_frequent = numbers.most_frequent_text;
        figures.push(("distinct texts".into(), texts));
        figures.push(("rows of the most frequent text".into(), most_frequent));
    }
    let sides = numbers.by_side.iter();
    figures.extend(sides.map(|(side, rows)| (format!("rows in {side}"), *rows)));
    let figures = figures.into_iter();
    let figures: Vec<_> = figures
        .map(|(name, number)| (number.to_string(), name))
        .collect();
    tiles(&figures) + "\n"
}

fn overview(diagnosis: &Diagnosis) -> String {
    let rows = diagnosis.findings().iter().map(|findings| {
        let Findings {
            kind, rows, remark, ..
        } = findings;
        let severity = kind.severity();
        let share = 100.0 * rows.len() as f64 / diagnosis.counts().rows.max(1) as f64;
        let (anchor, kind, remark) = (anchor(*kind), kind.to_string(), Escaped(remark));
        format!(
            "<tr><td class=\"{severity} short\">{severity}</td><td><a href=\"#{anchor}\">{kind}</a></td>\
             <td class=\"number\">{}</td><td class=\"number\">{share:.1} %</td>\
             <td class=\"wide faint\">{remark}</td></tr>\n",
            rows.len(),
        )
    });
    format!(
        "<table>\n<tr><th></th><th></th><th class=\"number\">rows</th><th class=\"number\">share</th>\
         <th class=\"wide\"></th></tr>\n{}</table>\n",
        rows.collect::<String>()
    )
}

/// Returns what the user can do, with the names of the configuration's keys.
fn advice(kind: FindingKind) -> String {
    match kind.setting() {
        Some(setting) => kind.advice().replace(setting, setting_key(setting)),
        None => kind.advice().into(),
    }
}

fn section(findings: &Findings, manifest: &Path) -> String {
    let kind = findings.kind;
    let severity = kind.severity();
    let mut section = format!(
        "<h2 id=\"{}\"><span class=\"{severity}\">{severity}</span> {kind}</h2>\n<p>{}</p>\n",
        anchor(kind),
        Escaped(&advice(kind)),
    );
    if !findings.remark.is_empty() {
        section += &format!("<p class=\"faint\">{}</p>\n", Escaped(&findings.remark));
    }
    section += "<ul class=\"cards\">\n";
    let cards = findings
        .examples
        .iter()
        .map(|finding| card(finding, manifest));
    section.extend(cards);
    section += "</ul>\n";
    if findings.count > findings.examples.len() {
        let (count, shown) = (findings.count, findings.examples.len());
        section += &format!("<p class=\"faint\">The worst {shown} of {count} are shown.</p>\n");
    }
    section
}

/// Returns a finding as a card. Paths are relative to the manifest's folder; the manifest itself is
/// not listed.
fn card(finding: &Finding, manifest: &Path) -> String {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let place = finding.place();
    let mut card = "<li>".to_string();
    if !finding.thumbnails.is_empty() {
        let thumbnails = finding.thumbnails.iter();
        let images = thumbnails.map(|thumbnail| image(thumbnail, &place));
        let images: String = images.collect();
        card += &format!("<div class=\"images\">{images}</div>");
    }
    if !place.is_empty() {
        card += &format!("<b>{place}</b> ");
    }
    card += &Escaped(&finding.detail).to_string();
    for text in &finding.texts {
        write!(card, "<blockquote>{}</blockquote>", folded(text)).expect("a string grows");
    }
    for file in finding.files.iter().filter(|file| *file != manifest) {
        let file = file.strip_prefix(folder).unwrap_or(file);
        let file = file.display().to_string();
        write!(card, "<div class=\"path\">{}</div>", Escaped(&file)).expect("a string grows");
    }
    card + "</li>\n"
}

/// Returns the anchor of a kind of finding, for links within the page.
fn anchor(kind: FindingKind) -> String {
    kind.to_string().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use convirt_data::{DoctorConfig, ManifestConfig, Radiograph, SkipReason, Thumbnail};

    use super::*;

    /// Returns the page of a small table with a blank image, a missing image, and names that need
    /// escaping.
    fn example() -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let grey = Thumbnail::new(&Radiograph::from_u8(40, 40, 1, &[7; 1600]));
        fs::write(file("<blank>.png"), grey.png).unwrap();
        let table = "image,text\n<blank>.png,FINDINGS: The <heart> is normal.\n\
                     \"none & \"\"nothing\"\".png\",The lungs are clear.\n";
        fs::write(file("pairs.csv"), table).unwrap();
        let config = DoctorConfig::new(ManifestConfig::new(file("pairs.csv")));
        doctor_page(&config.examine(|_| ()).unwrap())
    }

    #[test]
    fn every_finding_is_on_the_page_with_its_row_file_and_image() {
        let page = example();
        for part in [
            "<h2 id=\"blank-image\">",
            "<a href=\"#blank-image\">",
            "<b>row 1</b>",
            "src=\"data:image/png;base64,",
            "<div class=\"path\">&lt;blank&gt;.png</div>",
            "<h2 id=\"missing-image\">",
            "none &amp; &quot;nothing&quot;.png",
            "<blockquote><span class=\"text\">FINDINGS: The &lt;heart&gt; is normal.</span></blockquote>",
            "Not checked: tokens",
        ] {
            assert!(page.contains(part), "no `{part}` in {page}");
        }
    }

    #[test]
    fn advice_names_the_keys_of_the_configuration() {
        assert!(advice(FindingKind::NoGroups).contains("; dataset.group_col names the column"));
        let unusable = advice(FindingKind::Unusable(SkipReason::MissingImage));
        assert!(
            unusable.ends_with("more than dataset.max_bad_share."),
            "{unusable}"
        );
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let page = example();
        for outside in [
            "http:", "https:", "src=\"/", "<script", "<link", "@import", "url(",
        ] {
            assert!(!page.contains(outside), "`{outside}` in {page}");
        }
        let sources = page.matches("src=\"").count();
        assert_eq!(
            sources,
            page.matches("src=\"data:image/png;base64,").count()
        );
        assert!(page.contains("<meta charset=\"utf-8\">"));
    }
}
