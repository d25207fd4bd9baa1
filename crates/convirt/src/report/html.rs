//! Self-contained HTML pages: one file for light and dark screens of any size, without scripts and
//! without anything from the network.

use std::fmt::{self, Display};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convirt_data::{Thumbnail, printable_lines};

/// The style of all pages. Colours are named after their meaning.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--card:#f5f6f8;--line:#d9dde3;--ink:#1c2128;--faint:#5d6673;
--error:#b3261e;--warning:#8a5a00;--note:#3b5b85}
@media(prefers-color-scheme:dark){:root{--paper:#15181c;--card:#1e2228;--line:#343a43;--ink:#e4e7eb;
--faint:#a0a8b4;--error:#ff8a80;--warning:#f0b84d;--note:#93b8e8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:0}
h2{font-size:1.15rem;margin:2.5rem 0 .25rem}
p{margin:.25rem 0}
code,.path{font-family:ui-monospace,monospace;font-size:.85em}
a{color:inherit}
.faint,.path{color:var(--faint)}
.error{color:var(--error)}.warning{color:var(--warning)}.note{color:var(--note)}
.error,.warning,.note{font-weight:600}
.figures{display:flex;flex-wrap:wrap;gap:.5rem;margin:1rem 0;padding:0;list-style:none}
.figures li{background:var(--card);border-radius:.5rem;padding:.5rem .9rem}
.figures b{display:block;font-size:1.25rem;line-height:1.3}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{border-bottom:1px solid var(--line);padding:.4rem .6rem .4rem 0;text-align:left;vertical-align:top}
th{font-weight:600;color:var(--faint)}
td.number,th.number{text-align:right}
th,td.number,td.short{white-space:nowrap}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.75rem;margin:.75rem 0;
padding:0;list-style:none}
.cards blockquote{margin:.5rem 0 0;padding-left:.6rem;border-left:3px solid var(--note)}
.cards li{background:var(--card);border-radius:.5rem;padding:.75rem}
.images{display:flex;flex-wrap:wrap;gap:.4rem;margin-bottom:.4rem}
.images img{display:block;max-width:100%;height:auto;background:#000;border-radius:.25rem}
@media(max-width:40rem){.wide{display:none}}
";

/// A text escaped for an HTML element, or for an attribute in double quotes.
pub(crate) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = printable_lines(self.0).to_string();
        let mut rest = shown.as_str();
        while let Some(position) = rest.find(['&', '<', '>', '"']) {
            f.write_str(&rest[..position])?;
            f.write_str(match rest.as_bytes()[position] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                _ => "&quot;",
            })?;
            rest = &rest[position + 1..];
        }
        f.write_str(rest)
    }
}

/// Returns a list of figures: a value, and what it is.
pub(crate) fn tiles(figures: &[(String, String)]) -> String {
    let tile = |(value, name): &(String, String)| {
        format!("<li><b>{}</b>{}</li>", Escaped(value), Escaped(name))
    };
    let tiles: String = figures.iter().map(tile).collect();
    format!("<ul class=\"figures\">{tiles}</ul>")
}

/// Number of characters of a text that are shown before it is unfolded.
const FOLDED_CHARACTERS: usize = 160;

/// Returns a text; of a long one the beginning, which unfolds on a click.
pub(crate) fn folded(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(FOLDED_CHARACTERS) {
        None => format!("<span class=\"text\">{}</span>", Escaped(text)),
        Some((end, _)) => format!(
            "<details class=\"text\"><summary>{}…</summary>{}</details>",
            Escaped(&text[..end]),
            Escaped(text)
        ),
    }
}

/// Returns an image that fills the screen while its box is checked, that is, from click to click.
pub(crate) fn enlargeable(thumbnail: &Thumbnail, name: &str) -> String {
    format!(
        "<label class=\"enlarge\"><input type=\"checkbox\" aria-label=\"enlarge {}\">{}</label>",
        Escaped(name),
        image(thumbnail, name)
    )
}

/// Returns a page with a title and the HTML of its body.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = Escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// Returns the HTML of an image that is embedded into the page; `description` is its alternative
/// text.
pub(crate) fn image(thumbnail: &Thumbnail, description: &str) -> String {
    format!(
        "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{}\">",
        STANDARD.encode(&thumbnail.png),
        thumbnail.width,
        thumbnail.height,
        Escaped(description),
    )
}

#[cfg(test)]
mod tests {
    use convirt_data::Radiograph;

    use super::*;

    #[test]
    fn a_long_text_unfolds_to_the_whole() {
        let short = folded("Clear < lungs.");
        assert_eq!(short, "<span class=\"text\">Clear &lt; lungs.</span>");
        let text = "é".repeat(FOLDED_CHARACTERS + 1);
        let long = folded(&text);
        assert!(
            long.contains(&format!("</summary>{text}</details>")),
            "{long}"
        );
        assert!(long.starts_with("<details"), "{long}");
    }

    #[test]
    fn html_and_control_characters_are_escaped() {
        let text = "<b title=\"x\"> & é";
        assert_eq!(
            Escaped(text).to_string(),
            "&lt;b title=&quot;x&quot;&gt; &amp; é"
        );
        let control = "a\u{202e}gnp.b\r\n\u{1b}c";
        assert_eq!(Escaped(control).to_string(), "a\\u{202e}gnp.b\r\n\\u{1b}c");
        assert_eq!(Escaped("").to_string(), "");
        assert!(page("<script>", "").contains("<title>&lt;script&gt;</title>"));
    }

    #[test]
    fn images_are_embedded_into_the_page() {
        let thumbnail = Thumbnail::new(&Radiograph::from_u8(2, 1, 1, &[0, 255]));
        let html = image(&thumbnail, "rows \"1\"");
        // The signature of a PNG, in base64.
        assert!(
            html.starts_with("<img src=\"data:image/png;base64,iVBORw0KGgo"),
            "{html}"
        );
        assert!(
            html.ends_with("width=\"2\" height=\"1\" alt=\"rows &quot;1&quot;\">"),
            "{html}"
        );
    }
}
