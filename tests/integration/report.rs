//! A run's page, as its reader opens it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixtures::{convirt, text_of, trained};

fn page() -> String {
    fs::read_to_string(trained().run.path().join("report.html")).unwrap()
}

#[test]
fn training_leaves_a_page_that_needs_nothing_from_elsewhere() {
    let page = page();
    for part in [
        "<h2>Data</h2>",
        "pairs.csv: ",
        "none left out",
        "groups by `subject_id`",
        "tokens</td>",
        "% of ",
        "Texts by their number of words",
        "Loss (nats) by step",
        "Learning rate by step",
        "<polyline",
        "class=\"matrix\"",
        "Most surprising",
        "Where the model sees it",
        "data:image/png;base64,",
        "batch_size",
        "recall@10",
    ] {
        assert!(page.contains(part), "no `{part}`");
    }
    // Results first, beside chance; then what one looks at; then what one looks up.
    let order = [
        "class=\"figures\"",
        "<h2>Curves</h2>",
        "step 8, saved",
        "Recall@10 among the held-out pairs",
        "<h2>Held-out pairs</h2>",
        "class=\"legend matrix-legend\"",
        "class=\"legend heat-legend\"",
        "<h2>Data</h2>",
        "<h2>Configuration</h2>",
        "<h2>Environment</h2>",
    ];
    let saved = format!("step {}, saved", trained().summary.best_step);
    let order = order.map(|part| {
        if part == "step 8, saved" {
            &saved
        } else {
            part
        }
    });
    let places = order.map(|part| page.find(part).unwrap_or_else(|| panic!("no `{part}`")));
    assert!(places.is_sorted(), "{places:?}");
    for outside in ["src=\"http", "href=\"http", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_program_writes_the_page_of_a_run_and_says_what_is_not_there() {
    let copy = tempfile::tempdir().unwrap();
    let run = copy.path().join("run");
    fs::create_dir(&run).unwrap();
    for entry in fs::read_dir(trained().run.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, run.join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::remove_file(run.join("report.html")).unwrap();
    let config = fs::read_to_string(run.join("config.yaml")).unwrap();
    let config = config.replace("pairs.csv", "moved.csv");
    fs::write(run.join("config.yaml"), config).unwrap();
    let output = convirt(["report"]).arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<polyline"));
    for part in ["not shown: ", "moved.csv: cannot be read"] {
        assert!(page.contains(part), "no `{part}`");
    }

    let output = convirt(["report"]).arg("none").output().unwrap();
    assert!(!output.status.success());
    assert!(text_of(&output).contains("no run `none`"));
}

/// Opens a page in a frame as wide as a screen, and writes into the title what is amiss.
const FRAME: &str = r#"<!DOCTYPE html><title>waiting</title>
<iframe src="PAGE" style="width: WIDTHpx; height: 2000px; border: 0"></iframe>
<script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  const images = [...page.images];
  const broken = images.filter(image => !image.complete || image.naturalWidth === 0);
  const wide = page.documentElement.scrollWidth - WIDTH;
  const cells = [...page.querySelectorAll("td")];
  const crushed = cells.filter(cell => cell.offsetHeight > 8 * cell.offsetWidth);
  const heat = [...page.querySelectorAll(".heat img")];
  const small = heat.filter(image => image.clientWidth < 200 || image.clientHeight < 200);
  document.title = `${images.length} images, ${broken.length} broken, ${crushed.length} cells ` +
    `crushed, ${small.length} of ${heat.length > 0} heat maps too small, ` +
    `${Math.max(wide, 0)} too wide`;
};
</script>"#;

#[test]
fn a_browser_shows_every_picture_on_a_screen_and_on_a_telephone() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = browsers.into_iter().find(is_there) else {
        eprintln!("skipped: none of {browsers:?} is installed");
        return;
    };
    let page = trained().run.path().join("report.html");
    let folder = tempfile::tempdir().unwrap();
    for width in [1280, 400] {
        let found = opened(browser, &page, width, folder.path());
        let images = page_images(&page);
        let expected = format!(
            "{images} images, 0 broken, 0 cells crushed, 0 of true heat maps too small, 0 too wide"
        );
        assert!(
            found.contains(&expected),
            "{width}: no `{expected}` in\n{found}"
        );
    }
}

fn page_images(page: &Path) -> usize {
    fs::read_to_string(page).unwrap().matches("<img ").count()
}

/// What the browser shows of a page, and what it complains of.
fn opened(browser: &str, page: &Path, width: usize, folder: &Path) -> String {
    let frame = folder.join("frame.html");
    let page = format!("file://{}", page.canonicalize().unwrap().display());
    let html = FRAME
        .replace("PAGE", &page)
        .replace("WIDTH", &width.to_string());
    fs::write(&frame, html).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--allow-file-access-from-files",
            "--virtual-time-budget=20000",
        ])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(&frame)
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(!text.contains("CONSOLE"), "{text}");
    let title = text.split("<title>").nth(1).unwrap_or(&text);
    title.split("</title>").next().unwrap_or_default().into()
}
