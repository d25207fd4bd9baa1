//! No option is accepted and ignored: every option of every command changes what a call prints or
//! writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;

use rayon::prelude::*;
use tempfile::TempDir;

use crate::fixtures::{Workspace, contents, convirt, text_of, trained};
use crate::prepare::{Miniature, PLAIN};
use crate::retrieval::chexpert_lists;
use crate::transfer::labelled;

/// Calls of the program, each followed by the same call with one more option, indented. An option
/// that the call has already gets the new value. `→` precedes what must be printed then; without it,
/// the call must succeed, and anything that it prints or writes must differ.
const CALLS: &str = "
config check {config}
    --set batch_size=3 → 3
    --json

init {two}
    --out other.yaml
    --recipe paper
    --image-weights imagenet
    --text-encoder {text_encoder}
    --force
    --json
init {relative}
    --image-root {data}
init {text_paths} --image-root {data}
    --text-root {data}

prepare mimic --root {mimic} --out out
    --root {openi} → mimic-cxr-2.0.0-split.csv
    --out other
    --reports {openi} → no report: 6
    --tables {openi} → mimic-cxr-2.0.0-split.csv
    --views all
    --split patient
    --longer-side 64
    --max-image-side 100 → not one pair
    --max-image-mb 0 → max_image_mb
    --no-images
    --json
prepare mimic --root {mimic} --out out --split patient
    --valid-size 0.5
    --seed 7
prepare mimic --root {mimic_rotated} --out out
    --no-exif-orientation

prepare openi --root {openi} --out out
    --root {mimic} → reports
    --out other
    --reports {mimic} → reports
    --views PA → no image tells its view
    --longer-side 64
    --max-image-side 100 → cannot be divided
    --max-image-mb 0 → max_image_mb
    --no-images
    --valid-size 0
    --json
prepare openi --root {openi} --out out --valid-size 0.5
    --seed 1
prepare openi --root {openi_rotated} --out out
    --no-exif-orientation

doctor --config {config}
    --config {other_config}
    --set dataset.input_shape=(224,224,3)
    --out other.html
    --fix clean.csv
    --force --fix clean.csv
    --json
doctor --csv {two}
    --csv {two_broken} → missing image
    --recipe paper

train --config {config} --set max_steps=1
    --config {missing} → missing.yaml
    --set batch_size=7 → of 7 pairs
    --device nowhere
    --tui → terminal
    --json
train --csv {two} --recipe small-data --set max_steps=1 --set dataset.input_shape=(32,32,3)
    --csv {missing} → missing.yaml
    --recipe paper → Bio_ClinicalBERT

resume {unfinished}
    --set max_steps=1 → nothing changes
    --device nowhere
    --tui → terminal
    --json
resume {changed} --set max_steps=2
    --allow-changed-data

runs --runs-dir {runs}
    --runs-dir {data} → no run
    --verbose → backends:
    --json

report {run}
    --device nowhere
    --json

embed --run {run} --manifest {two} --split all --out out.npy
    --run {missing} → missing.yaml
    --device nowhere
    --precision bf16
    --batch-size 3
    --workers 2
    --manifest {relative} → are not in
    --texts
    --out out.safetensors
    --force
    --features
    --image-col other_image
    --split valid
    --split-col side
    --json
embed --run {run} --manifest {two} --split all --texts --out out.npy
    --text-col other_text
    --text-from-files → text_from_files
embed --run {run} --manifest {relative} --split all --out out.npy
    --image-root {data}
embed --run {run} --manifest {text_paths} --split all --texts --image-root {data} --out out.npy
    --text-root {data}
embed --run {run} --manifest {outside} --split all --out out.npy
    --allow-outside-roots
embed --run {run} --images {broken} --out out.npy
    --images {good}
    --max-bad-share 0.9
embed --run {run} --sentences {sentences} --out out.npy
    --sentences {other_sentences}

index build --run {run} --manifest {two} --split all --out out.index
    --run {missing} → missing.yaml
    --device nowhere
    --precision bf16
    --batch-size 3
    --workers 2
    --manifest {relative} → are not in
    --texts
    --without-texts
    --features
    --out other.index
    --force
    --image-col other_image
    --text-col other_text
    --text-from-files → text_from_files
    --split valid
    --split-col side
    --json
index build --run {run} --manifest {relative} --split all --out out.index
    --image-root {data}
index build --run {run} --manifest {text_paths} --split all --image-root {data} --out out.index
    --text-root {data}
index build --run {run} --manifest {outside} --split all --out out.index
    --allow-outside-roots
index build --run {run} --images {broken} --out out.index
    --images {good}
    --max-bad-share 0.9

index search {index} --run {run} --text Effusion.
    --run {missing} → missing.yaml
    --device nowhere
    --precision bf16
    --text Pneumothorax.
    --json
index search {index} --run {run} --image {image}
    --image {other_image}

retrieve pairs --run {run} --manifest {two} --split all
    --run {missing} → missing.yaml
    --device nowhere
    --precision bf16
    --batch-size 3
    --workers 2
    --manifest {relative} → are not in
    --image-col other_image
    --text-col other_text
    --text-from-files → text_from_files
    --split valid
    --split-col side
    --json
retrieve pairs --run {run} --manifest {relative} --split all
    --image-root {data}
retrieve pairs --run {run} --manifest {text_paths} --split all --image-root {data}
    --text-root {data}
retrieve pairs --run {run} --manifest {outside} --split all
    --allow-outside-roots
retrieve pairs --run {run} --manifest {two_broken} --split all
    --max-bad-share 0.9

retrieve chexpert --run {run} --lists {chexpert}/convirt --images {chexpert}
    --run {missing} → missing.yaml
    --device nowhere
    --precision bf16
    --batch-size 3
    --workers 2
    --lists {data} → image-retrieval
    --images {data} → candidate.csv
    --json
retrieve chexpert --run {run} --lists {broken_chexpert}/convirt --images {broken_chexpert}
    --max-bad-share 0.9

zero-shot {run} --prompts {prompts} --csv {labels} --label-col label --split all
    --prompts {other_prompts}
    --csv {labels_of_others}
    --image-col other
    --label-col third
    --positive bright
    --split valid → no row is in the split valid
    --batch-size 3
    --device nowhere
    --precision bf16
    --out out.csv
    --force --out out.csv
    --json
zero-shot {run} --prompts {finding_prompts} --csv {labels} --label-cols Bright,Odd --split all
    --label-cols Odd
    --group-col patient
    --uncertain ones
    --blank ignore
zero-shot {run} --prompts {prompts} --csv {labels} --label-col label
    --split-col split
zero-shot {run} --prompts {finding_prompts} --csv {labels} --label-col findings --split all
    --label-separator |
zero-shot {run} --prompts {prompts} --csv {elsewhere}/labels.csv --label-col label --split all
    --image-root {labelled}
zero-shot {run} --prompts {prompts} --csv {outside_labels} --label-col label --split all
    --allow-outside-roots
zero-shot {run} --prompts {prompts} --csv {broken_labels} --label-col label --split all
    --max-bad-share 0.9
zero-shot {run} --prompts {prompts} {broken}
    --max-bad-share 0.9

transfer --encoder pixels:8 --csv {labels} --label-col label --group-col patient --fractions 1 --seeds 1 --resamples 20 --device flex --out out
    --encoder pixels:16
    --csv {labels_of_others}
    --image-col other
    --label-col third
    --positive bright
    --group-col image
    --split-col split
    --test-size 0.5
    --fractions 0.5
    --seed 5
    --resamples 30
    --device nowhere
    --out other
    --force
    --json
transfer --encoder pixels:8 --csv {labels} --label-col label --group-col patient --fractions 0.5 --seeds 1 --resamples 20 --out out
    --seeds 2
transfer --encoder pixels:8 --csv {labels} --label-cols Bright,Odd --group-col patient --fractions 1 --seeds 1 --resamples 20 --out out
    --label-cols Odd
    --uncertain ones
    --blank ignore → not one of 80
transfer --encoder pixels:8 --csv {labels} --label-col findings --group-col patient --fractions 1 --seeds 1 --resamples 20 --out out
    --label-separator |
transfer --encoder pixels:8 --csv {outside_labels} --label-col label --group-col patient --fractions 1 --seeds 1 --resamples 20 --out out
    --allow-outside-roots
transfer --encoder pixels:8 --csv {elsewhere}/labels.csv --label-col label --group-col patient --fractions 1 --seeds 1 --resamples 20 --out out
    --image-root {labelled}
    --max-bad-share 1 → none of the 80 rows
transfer --encoder {run} --csv {labels} --label-col label --group-col patient --fractions 1 --seeds 1 --resamples 20 --image-size 16 --out out
    --weights-prefix nowhere → nowhere
    --image-size 24
    --precision bf16
    --batch-size 7
transfer --encoder {run} --csv {labels} --label-col label --group-col patient --fractions 1 --seeds 1 --resamples 20 --image-size 16 --mode fine-tune --max-epochs 1 --out out
    --mode linear → --max-epochs has an effect
    --max-epochs 2

inspect {weights}
    --load
    --json
inspect {weights} --load
    --device nowhere

export {run}
    --out other
    --hub-layout
    --name Phantom
    --license cc0-1.0
    --classes 3
    --force
    --json
";

/// Options of every command, whose effect is tested once or elsewhere.
const GLOBAL: [&str; 4] = ["--quiet", "--verbose", "--help", "--version"];

/// Options that only change time and memory: the result is the same.
const SPEED: [&str; 2] = ["--batch-size", "--workers"];

/// A call of the program, and the same call with one more option each.
struct Call {
    command: String,
    arguments: Vec<String>,
    changes: Vec<Change>,
}

/// One more option of a call.
struct Change {
    option: String,
    arguments: Vec<String>,
    /// What must be printed then.
    printed: Option<String>,
}

/// What a call leaves: whether it succeeded, what it printed, and its files.
#[derive(Debug, PartialEq)]
struct Outcome {
    succeeded: bool,
    printed: String,
    results: Vec<u8>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Outcome {
    /// Returns how two calls differ in what they print and write.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.printed != other.printed {
            return Some(format!("{}\nand\n{}", self.printed, other.printed));
        }
        let mut names = self.files.keys().chain(other.files.keys());
        let name = names.find(|name| self.files.get(*name) != other.files.get(*name))?;
        Some(name.display().to_string())
    }
}

/// Parses [`CALLS`], with `paths` in place of their names in braces.
fn calls(paths: &BTreeMap<&str, PathBuf>) -> Vec<Call> {
    let words = |text: &str| -> Vec<String> {
        let mut text = text.to_string();
        for (name, path) in paths {
            text = text.replace(&format!("{{{name}}}"), path.to_str().unwrap());
        }
        assert!(!text.contains('{'), "{text}: no such path");
        text.split_whitespace().map(String::from).collect()
    };
    let mut calls: Vec<Call> = Vec::new();
    for line in CALLS.lines().filter(|line| !line.is_empty()) {
        let (line, printed) = match line.split_once(" → ") {
            Some((line, printed)) => (line, Some(printed.to_string())),
            None => (line, None),
        };
        if line.starts_with(' ') {
            let arguments = words(line);
            calls.last_mut().unwrap().changes.push(Change {
                option: arguments[0].clone(),
                arguments,
                printed,
            });
        } else {
            // `{…}` and options are arguments of the command, whose name has one or two words.
            let all: Vec<&str> = line.split(' ').collect();
            let length = all
                .iter()
                .position(|word| word.starts_with(['-', '{']))
                .unwrap_or(all.len());
            calls.push(Call {
                command: all[..length].join(" "),
                arguments: words(&all[length..].join(" ")),
                changes: Vec::new(),
            });
        }
    }
    calls
}

impl Call {
    /// The arguments with an option set, or added if they have it not yet.
    fn with(&self, change: &Change) -> Vec<String> {
        let mut arguments = self.arguments.clone();
        let place = arguments.iter().position(|it| *it == change.option);
        // Some options may be given several times, and add to each other.
        let is_repeated = ["--set", "--force"].contains(&change.option.as_str());
        match place.filter(|_| !is_repeated) {
            Some(place) => drop(arguments.splice(place..place + 2, change.arguments.clone())),
            None => arguments.extend(change.arguments.clone()),
        }
        arguments
    }

    fn run(&self, arguments: &[String], folder: &Path) -> Outcome {
        let mut program = convirt(self.command.split(' '));
        program.args(arguments).current_dir(folder);
        program.env("HF_HUB_OFFLINE", "1");
        let output = program.output().unwrap();
        Outcome {
            succeeded: output.status.success(),
            printed: lasting(&output, folder),
            results: output.stdout,
            files: contents(folder),
        }
    }

    /// Returns what is wrong with the effect of an option.
    fn fault(&self, change: &Change, without: &Outcome) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let option = change.option.as_str();
        if option == "--force" {
            // Without it, a second call does not replace the output of the first.
            let first = self.run(&self.arguments_of_output(change), folder.path());
            let again = self.run(&self.arguments_of_output(change), folder.path());
            let forced = self.run(&self.with(change), folder.path());
            let is_right = first.succeeded && !again.succeeded && forced.succeeded;
            return (!is_right).then(|| format!("{} {}", again.printed, forced.printed));
        }
        let outcome = self.run(&self.with(change), folder.path());
        let printed_now = &outcome.printed;
        let is_right = match (&change.printed, option) {
            (Some(printed), _) => printed_now.contains(printed),
            (None, "--device") => !outcome.succeeded && printed_now.contains("nowhere"),
            (None, "--json") => {
                outcome.succeeded
                    && serde_json::from_slice::<serde_json::Value>(&outcome.results).is_ok()
            }
            (None, _) if SPEED.contains(&option) => {
                outcome.succeeded && without.succeeded && outcome.files.len() == without.files.len()
            }
            (None, _) => outcome.succeeded && outcome.difference(without).is_some(),
        };
        (!is_right).then(|| format!("{printed_now}\nwithout it:\n{}", without.printed))
    }

    /// The arguments with what else a change of `--force` names, such as the output.
    fn arguments_of_output(&self, change: &Change) -> Vec<String> {
        [&self.arguments[..], &change.arguments[1..]].concat()
    }
}

/// What was printed, apart from lines with times and from the folder, which differ between equal
/// calls.
fn lasting(output: &Output, folder: &Path) -> String {
    let text = text_of(output).replace(folder.to_str().unwrap(), "");
    let has_time = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut pairs = words.windows(2);
        line.contains("seconds")
            || pairs.any(|pair| {
                let is_unit = ["s", "ms", "min"].contains(&pair[1].trim_end_matches([',', ';']));
                is_unit && pair[0].parse::<f64>().is_ok()
            })
    };
    let lines = text.lines().filter(|line| !has_time(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The options of every command that the program has, by the command's name.
fn options_of_the_program() -> BTreeMap<String, BTreeSet<String>> {
    let help = |words: &[String]| text_of(&convirt(words).arg("--help").output().unwrap());
    let mut options = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(command) = waiting.pop() {
        let help = help(&command);
        let lines = help.split_once("\nCommands:\n").map_or("", |(_, it)| it);
        let lines = lines.lines().take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            waiting.push([&command[..], &[name.to_string()]].concat());
        }
        let own = help.split_once("\nOptions:\n").map_or("", |(_, it)| it);
        let own = own.split_once("\nExamples:").map_or(own, |(it, _)| it);
        let named = own.lines().filter_map(|line| {
            let mut words = line.split_whitespace().filter(|word| word.starts_with('-'));
            let first = words.next().filter(|_| line.starts_with("  "))?;
            let long = if first.starts_with("--") {
                Some(first)
            } else {
                words.next()
            };
            long.filter(|_| line.trim_start().starts_with('-'))
                .map(String::from)
        });
        options.insert(command.join(" "), named.collect());
    }
    options
}

#[test]
fn every_option_of_every_command_has_its_effect() {
    let files = Files::new();
    let calls = calls(&files.paths);
    let mut called: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for call in &calls {
        let options = called.entry(&call.command).or_default();
        options.extend(call.changes.iter().map(|change| change.option.as_str()));
    }
    for (command, options) in options_of_the_program() {
        for option in options.iter().filter(|it| !GLOBAL.contains(&it.as_str())) {
            let is_called = called
                .get(command.as_str())
                .is_some_and(|options| options.contains(option.as_str()));
            assert!(is_called, "`convirt {command} {option}` is not called here");
        }
    }

    let faults = Mutex::new(Vec::new());
    calls.par_iter().for_each(|call| {
        let [folder, other] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let without = call.run(&call.arguments, folder.path());
        // Otherwise any option would seem to have an effect.
        let is_checked_by_difference = call.changes.iter().any(|change| change.printed.is_none());
        if is_checked_by_difference && !["train", "resume"].contains(&&*call.command) {
            let again = call.run(&call.arguments, other.path());
            if let Some(difference) = again.difference(&without) {
                let command = &call.command;
                let fault = format!("convirt {command}: not repeatable: {difference}");
                faults.lock().unwrap().push(fault);
            }
        }
        for change in &call.changes {
            if let Some(fault) = call.fault(change, &without) {
                let (command, change) = (&call.command, change.arguments.join(" "));
                let fault = format!("convirt {command} … {change}\n{fault}");
                faults.lock().unwrap().push(fault);
            }
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "no effect:\n\n{}", faults.join("\n\n"));
}

/// The files that the calls name in braces.
struct Files {
    paths: BTreeMap<&'static str, PathBuf>,
    _folders: Vec<TempDir>,
    _miniatures: Vec<Miniature>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        let trained = trained();
        let data = trained.workspace().data();
        let pairs = fs::read_to_string(data.join("pairs.csv")).unwrap();
        let rows: Vec<Vec<&str>> = pairs
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect())
            .collect();
        let (images, texts): (Vec<&str>, Vec<&str>) =
            rows.iter().map(|row| (row[0], row[1])).unzip();
        let report = |row: usize| fs::read_to_string(data.join(texts[row])).unwrap();
        let quoted = |row: usize| format!("\"{}\"", report(row).replace('"', "'"));

        // These tables lie beside the images that they name.
        let beside = |name: &str, content: &str| {
            let path = data.join(format!("options-{name}"));
            fs::write(&path, content).unwrap();
            path
        };
        // Two columns of each, so that a column by name is another than the recognized one.
        let mut two = "image,text,other_image,other_text,side\n".to_string();
        let mut two_broken = two.clone();
        let mut outside = "image,text\n".to_string();
        let mut relative = outside.clone();
        let mut text_paths = "image,text,path\n".to_string();
        for row in 0..rows.len() {
            let other = (row + 1) % rows.len();
            let side = ["train", "train", "valid", "test"][row % 4];
            let line = format!(
                "{},{},{},{},{side}\n",
                images[row],
                quoted(row),
                images[other],
                quoted(other)
            );
            two += &line;
            two_broken += &if row % 3 == 0 {
                line.replacen(images[row], "none.png", 1)
            } else {
                line
            };
            outside += &format!("{},{}\n", data.join(images[row]).display(), quoted(row));
            relative += &format!("{},{}\n", images[row], quoted(row));
            text_paths += &format!("{},{},{}\n", images[row], texts[row], texts[other]);
        }

        let labelled = labelled();
        let labels = fs::read_to_string(labelled.path().join("labels.csv")).unwrap();
        // Another image column, and findings listed in a cell.
        let rows: Vec<String> = labels
            .lines()
            .enumerate()
            .map(|(row, line)| match row {
                0 => format!("{line},other,findings"),
                _ => {
                    let findings = ["a|b", "a", "b|c", "c"][row % 4];
                    format!("{line},{}.png,{findings}", 80 - row)
                }
            })
            .collect();
        let labels = rows.join("\n") + "\n";
        fs::write(labelled.path().join("labels.csv"), &labels).unwrap();
        let of_others = labels
            .replace(",bright,", ",dark,")
            .replacen(",dark,", ",bright,", 9);
        fs::write(labelled.path().join("others.csv"), of_others).unwrap();
        let broken_labels = labelled.path().join("broken.csv");
        let without_images = labels
            .replace("\n1.png", "\nnone.png")
            .replace("\n2.png", "\nno.png");
        fs::write(&broken_labels, without_images).unwrap();
        let labelled_path = labelled.path().to_path_buf();
        let labelled_folder = format!("\n{}/", labelled_path.display());
        let outside_labels = labels.trim_end().replace('\n', &labelled_folder) + "\n";

        let workspace = Workspace::shared("options");
        let config = file("config.yaml", &workspace.yaml());
        let unfinished = workspace.train(&["max_steps=1"]).unwrap().run;
        let changed = workspace.train(&["max_steps=1"]).unwrap().run;
        let text = fs::read_to_string(changed.join("config.yaml")).unwrap();
        let text = text.replace("weight_decay: ", "weight_decay: 1.0 # ");
        fs::write(changed.join("config.yaml"), text).unwrap();
        let broken = folder.path().join("broken");
        let good = folder.path().join("good");
        for (position, image) in images[..4].iter().enumerate() {
            for images in [&broken, &good] {
                fs::create_dir_all(images).unwrap();
                fs::copy(data.join(image), images.join(format!("{position}.png"))).unwrap();
            }
        }
        fs::write(broken.join("no_image.png"), "not an image").unwrap();

        let run = trained.run.path().to_path_buf();
        let index = folder.path().join("reports.index");
        let mut build = convirt(["index", "build", "--texts", "--split", "all", "--run"]);
        build
            .arg(&run)
            .arg("--manifest")
            .arg(data.join("pairs.csv"));
        let built = build.arg("--out").arg(&index).output().unwrap();
        assert!(built.status.success(), "{}", text_of(&built));
        let text_encoder = folder.path().join("text_encoder");
        let model = convirt::Model::load(&run).unwrap();
        model.export_text_encoder(&text_encoder).unwrap();

        let (mimic, openi) = (Miniature::mimic(PLAIN), Miniature::openi());
        let (mimic_rotated, openi_rotated) = (Miniature::mimic(PLAIN), Miniature::openi());
        mimic_rotated.rotate_images();
        openi_rotated.rotate_images();
        let (chexpert, broken_chexpert) = (chexpert_lists(), chexpert_lists());
        let candidate = "CheXpert-v1.0-small/train/patient00003.png";
        fs::write(broken_chexpert.path().join(candidate), "not an image").unwrap();
        let prompts = |first: &str| {
            let classes = [
                ("bright", first),
                ("dark", "Dark lungs."),
                ("middle", "Mixed lungs."),
            ];
            let class = |(name, prompt)| format!("{name}: {{positive: [{prompt}]}}\n");
            classes.map(class).concat()
        };
        let of_findings = |finding: &str| {
            format!("{finding}:\n  positive: [There is {finding}.]\n  negative: [No {finding}.]\n")
        };
        let paths = BTreeMap::from([
            ("two", beside("two.csv", &two)),
            ("two_broken", beside("two_broken.csv", &two_broken)),
            ("outside", file("outside.csv", &outside)),
            (
                "outside_labels",
                file("outside_labels.csv", &outside_labels),
            ),
            ("relative", file("relative.csv", &relative)),
            ("text_paths", file("text_paths.csv", &text_paths)),
            ("missing", folder.path().join("missing.yaml")),
            (
                "other_config",
                file(
                    "other.yaml",
                    &workspace
                        .yaml()
                        .replace("group_col: subject_id", "group_col: null"),
                ),
            ),
            ("config", config),
            ("data", data.clone()),
            ("run", run),
            ("runs", workspace.runs()),
            ("unfinished", unfinished),
            ("changed", changed),
            ("text_encoder", text_encoder),
            ("weights", trained.run.model().join("model.safetensors")),
            ("index", index),
            ("broken", broken),
            ("good", good),
            ("image", data.join(images[0])),
            ("other_image", data.join(images[9])),
            (
                "sentences",
                file("sentences.txt", "Effusion.\nClear lungs.\n"),
            ),
            ("other_sentences", file("others.txt", "Pneumothorax.\n")),
            (
                "prompts",
                file("prompts.yaml", &prompts("The lungs are bright.")),
            ),
            (
                "other_prompts",
                file("other_prompts.yaml", &prompts("White.")),
            ),
            (
                "finding_prompts",
                file(
                    "findings.yaml",
                    &["Bright", "Odd", "a", "b", "c"].map(of_findings).concat(),
                ),
            ),
            ("labels", labelled_path.join("labels.csv")),
            ("broken_labels", broken_labels),
            ("labels_of_others", labelled_path.join("others.csv")),
            ("labelled", labelled_path),
            (
                "elsewhere",
                file("elsewhere/labels.csv", &labels)
                    .parent()
                    .unwrap()
                    .to_path_buf(),
            ),
            ("mimic", mimic.root()),
            ("openi", openi.root()),
            ("mimic_rotated", mimic_rotated.root()),
            ("openi_rotated", openi_rotated.root()),
            ("chexpert", chexpert.path().to_path_buf()),
            ("broken_chexpert", broken_chexpert.path().to_path_buf()),
        ]);
        Self {
            paths,
            _folders: vec![folder, labelled, chexpert, broken_chexpert],
            _miniatures: vec![mimic, openi, mimic_rotated, openi_rotated],
        }
    }
}
