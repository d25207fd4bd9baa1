//! Signs around headings that are none of the report: bold type, and colons of full width.

use std::borrow::Cow;

use crate::text::sentences::is_rule;

/// Tags of HTML that editors leave around headings and lines.
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

/// Returns a report without the marks of bold type, its colons of one kind.
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
    fn bold_type_is_no_text_and_rules_are_left() {
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
