//! Removal of markup from reports: Markdown, HTML, full-width colons.

use std::borrow::Cow;

use crate::text::sentences::is_rule;

/// HTML tags around headings and lines, and their replacements.
const TAGS: [(&str, &str); 12] = [
    ("<b>", ""),
    ("</b>", ""),
    ("<strong>", ""),
    ("</strong>", ""),
    ("<u>", ""),
    ("</u>", ""),
    ("<p>", "\n"),
    ("</p>", "\n"),
    ("<br>", "\n"),
    ("<br/>", "\n"),
    ("<br />", "\n"),
    ("&nbsp;", " "),
];

/// Returns a report without markup and with ASCII colons.
pub(super) fn without_markup(report: &str) -> Cow<'_, str> {
    if !["**", "<", "&nbsp;", "：", "# "]
        .iter()
        .any(|it| report.contains(it))
    {
        return Cow::Borrowed(report);
    }
    let mut text = report.replace('：', ": ");
    for (tag, sign) in TAGS {
        text = text.replace(tag, sign).replace(&tag.to_uppercase(), sign);
    }
    let lines = text.split('\n').map(|line| {
        let title = line.trim_start_matches('#');
        let line = if title.starts_with(' ') { title } else { line };
        if is_rule(line.trim()) {
            line.to_owned()
        } else {
            line.replace("**", "")
        }
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_removed_and_rules_remain() {
        for (report, expected) in [
            ("**FINDINGS:** Clear.\n*****\n", "FINDINGS: Clear.\n*****\n"),
            (
                "<b>FINDINGS:</b> Clear.<BR>Normal.",
                "FINDINGS: Clear.\nNormal.",
            ),
            ("## FINDINGS\nClear # 2.", " FINDINGS\nClear # 2."),
            ("FINDINGS：Clear.", "FINDINGS: Clear."),
            ("A nodule < 3 mm.", "A nodule < 3 mm."),
        ] {
            assert_eq!(without_markup(report), expected);
        }
    }
}
