//! Parsing of the XML reports of OpenI.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::text::joined;

/// A report of OpenI.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OpenIReport {
    pub(super) id: String,
    pub(super) findings: String,
    pub(super) impression: String,
    /// Names of the images.
    pub(super) images: Vec<String>,
    /// Manual index terms.
    pub(super) major: Vec<String>,
    /// Automatic index terms.
    pub(super) automatic: Vec<String>,
}

/// The field that the text of an element belongs to.
enum Field {
    Findings,
    Impression,
    Major,
    Automatic,
}

impl OpenIReport {
    /// Parses a report; the error describes the problem and its position in bytes.
    pub(super) fn parse(xml: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(xml);
        let mut report = Self::default();
        let mut open: Vec<String> = Vec::new();
        let mut field = None;
        let mut text = String::new();
        loop {
            let at = reader.buffer_position();
            let error_at = |what: String| format!("{what}, byte {at}");
            match reader
                .read_event()
                .map_err(|error| error_at(error.to_string()))?
            {
                Event::Start(element) => {
                    report.read_attributes(&element, &open).map_err(error_at)?;
                    if field.is_none() {
                        field = field_of(&element, &open).map_err(error_at)?;
                        text.clear();
                    }
                    open.push(element.local_name().as_ref().to_owned());
                }
                Event::Empty(element) => {
                    report.read_attributes(&element, &open).map_err(error_at)?
                }
                Event::Text(piece) => text.push_str(&piece.xml10_content()),
                Event::CData(piece) => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(reference) => {
                    let name = reference.xml10_content();
                    let character = match name.as_ref() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    text.push(
                        character.ok_or_else(|| error_at(format!("unknown entity &{name};")))?,
                    );
                }
                Event::End(element) => {
                    open.pop();
                    let name = element.local_name();
                    if matches!(name.as_ref(), "AbstractText" | "major" | "automatic")
                        && let Some(field) = field.take()
                    {
                        report.add_text(field, &text);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if let Some(name) = open.last() {
            return Err(format!("ends inside <{name}>"));
        }
        if report.id.is_empty() {
            return Err("no <uId id=…>".into());
        }
        Ok(report)
    }

    /// Returns findings and impression, or the one that exists.
    pub(super) fn text(&self) -> Option<String> {
        joined(
            [self.findings.as_str(), &self.impression]
                .map(|it| Some(it).filter(|it| !it.is_empty())),
        )
    }

    fn read_attributes(&mut self, element: &BytesStart, open: &[String]) -> Result<(), String> {
        match (element.local_name().as_ref(), open.len()) {
            ("uId", 1) => self.id = attribute(element, "id")?.unwrap_or_default(),
            ("parentImage", 1) => self.images.extend(attribute(element, "id")?),
            _ => {}
        }
        Ok(())
    }

    fn add_text(&mut self, field: Field, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let section = match field {
            Field::Major => return self.major.push(text.into()),
            Field::Automatic => return self.automatic.push(text.into()),
            Field::Findings => &mut self.findings,
            Field::Impression => &mut self.impression,
        };
        if !section.is_empty() {
            section.push(' ');
        }
        section.extend(text.split_whitespace().flat_map(|word| [" ", word]).skip(1));
    }
}

fn field_of(element: &BytesStart, open: &[String]) -> Result<Option<Field>, String> {
    let parent = open.last().map_or("", String::as_str);
    Ok(match (parent, element.local_name().as_ref()) {
        ("Abstract", "AbstractText") => {
            let label = attribute(element, "Label")?.unwrap_or_default();
            match label.to_uppercase().as_str() {
                "FINDINGS" => Some(Field::Findings),
                "IMPRESSION" => Some(Field::Impression),
                _ => None,
            }
        }
        ("MeSH", "major") => Some(Field::Major),
        ("MeSH", "automatic") => Some(Field::Automatic),
        _ => None,
    })
}

fn attribute(element: &BytesStart, name: &str) -> Result<Option<String>, String> {
    let attribute = element
        .try_get_attribute(name)
        .map_err(|error| error.to_string())?;
    attribute
        .map(|attribute| {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| error.to_string())?;
            Ok(value.trim().to_owned())
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR7"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION"/>
<AbstractText Label="FINDINGS">Heart &gt; 50 % &#x26; large. <![CDATA[1 < 2]]></AbstractText>
<AbstractText Label="IMPRESSION"> Cardiomegaly. </AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Cardiomegaly/mild</major><automatic>Cardiomegaly</automatic></MeSH>
<parentImage id="CXR7_IM-1-1001"><caption>Xray</caption></parentImage>
<parentImage id="CXR7_IM-1-1002"/>
</eCitation>"#;

    #[test]
    fn a_report_gives_its_sections_images_and_terms() {
        let report = OpenIReport::parse(REPORT).unwrap();
        let expected = OpenIReport {
            id: "CXR7".into(),
            findings: "Heart > 50 % & large. 1 < 2".into(),
            impression: "Cardiomegaly.".into(),
            images: vec!["CXR7_IM-1-1001".into(), "CXR7_IM-1-1002".into()],
            major: vec!["Cardiomegaly/mild".into()],
            automatic: vec!["Cardiomegaly".into()],
        };
        assert_eq!(report, expected);
        let titled = REPORT.replace("FINDINGS", "Findings");
        assert_eq!(OpenIReport::parse(&titled).unwrap(), expected);
        assert_eq!(
            report.text().as_deref(),
            Some("Heart > 50 % & large. 1 < 2\n\nCardiomegaly.")
        );
    }

    #[test]
    fn empty_sections_have_no_text() {
        let empty = REPORT
            .replace("Heart &gt; 50 % &#x26; large. <![CDATA[1 < 2]]>", "")
            .replace("Cardiomegaly. ", "");
        assert_eq!(OpenIReport::parse(&empty).unwrap().text(), None);
    }

    #[test]
    fn an_invalid_report_is_an_error_with_the_reason() {
        for (xml, part) in [
            ("", "no <uId"),
            ("not xml", "no <uId"),
            ("<eCitation>", "ends inside <eCitation>"),
            ("<a><b></a></b>", "byte 6"),
            (&REPORT.replace("&gt;", "&bomb;"), "&bomb;"),
            (&REPORT.replace("\"CXR7\"", "\"&bomb;\""), "bomb"),
        ] {
            let error = OpenIReport::parse(xml).unwrap_err();
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    }

    #[test]
    fn a_report_truncated_anywhere_is_an_error_and_not_a_panic() {
        for end in (0..REPORT.len()).filter(|&end| REPORT.is_char_boundary(end)) {
            assert!(OpenIReport::parse(&REPORT[..end]).is_err(), "{end}");
        }
    }
}
