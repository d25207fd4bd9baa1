//! Small data, a small configuration and one small training that the tests share.

use std::collections::BTreeMap;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use convirt::phantom::PhantomConfig;
use convirt::run::{Ending, RunError};
use convirt::{Config, Error, RunDir, Summary, Training};
use tempfile::TempDir;

/// Trainings of one process draw from one random generator, so that only one at a time repeats
/// its numbers; a test holds this while it prepares one, which sets the seed, and trains.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder of its own with a small phantom in `data/` and a place for runs.
pub struct Workspace {
    path: PathBuf,
    /// Removes the folder in the end.
    _folder: Option<TempDir>,
}

impl Workspace {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder.path().to_path_buf(), Some(folder))
    }

    /// One for a static, which nothing drops: a later process removes it.
    pub fn shared(name: &str) -> Self {
        const LONGEST_RUN: Duration = Duration::from_secs(1_800);
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared");
        std::fs::create_dir_all(&all).unwrap();
        for earlier in std::fs::read_dir(&all).unwrap().flatten() {
            let age = earlier.metadata().and_then(|folder| folder.modified());
            if age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LONGEST_RUN)) {
                // Another process may be removing it as well.
                let _ = std::fs::remove_dir_all(earlier.path());
            }
        }
        let path = all.join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self::at(path, None)
    }

    fn at(path: PathBuf, folder: Option<TempDir>) -> Self {
        let workspace = Self {
            path,
            _folder: folder,
        };
        phantom()
            .write(&workspace.data(), |_, _| ())
            .expect("the phantom can be written");
        workspace
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn runs(&self) -> PathBuf {
        self.path().join("runs")
    }

    /// A training of a minute fraction: 8 steps of 4 pairs, evaluated every 4.
    pub fn yaml(&self) -> String {
        format!(
            "\
batch_size: 4
epochs: 1000
max_steps: 8
eval_every_n_steps: 4
learning_rate: 1e-3
name: test
runs_dir: {runs}
device: flex
model:
  out_dim: 16
  res_base_model: resnet18
  bert_base_model: scratch
  freeze_embeddings: False
  freeze_layers: null
  text_from_scratch: {{layers: 1, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 400, max_tokens: 32}}
dataset:
  input_shape: (32,32,3)
  num_workers: 1
  csv_file: {data}/pairs.csv
  text_from_files: True
  img_path_col: image
  text_col: text
  group_col: subject_id
  split_col: split
",
            runs = self.runs().display(),
            data = self.data().display(),
        )
    }

    /// Writes this configuration as a file; returns its path.
    pub fn config_file(&self) -> PathBuf {
        let path = self.path().join("config.yaml");
        std::fs::write(&path, self.yaml()).unwrap();
        path
    }

    /// The configuration with single keys changed, as `--set` does.
    pub fn config(&self, overrides: &[&str]) -> Config {
        self.try_config(overrides).unwrap()
    }

    pub fn try_config(&self, overrides: &[&str]) -> Result<Config, convirt::Error> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Ok(Config::from_yaml("test.yaml", &self.yaml(), &overrides)?)
    }

    pub fn train(&self, overrides: &[&str]) -> Result<Summary, convirt::Error> {
        let _alone = alone();
        Training::prepare(self.try_config(overrides)?)?.run()
    }
}

fn phantom() -> PhantomConfig {
    PhantomConfig {
        patients: 16,
        longer_side: 64,
        seed: 7,
    }
}

/// One finished training.
pub struct Trained {
    workspace: Workspace,
    pub run: RunDir,
    pub summary: Summary,
}

impl Trained {
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Some image of the phantom.
    pub fn an_image(&self) -> PathBuf {
        let table = std::fs::read_to_string(self.workspace.data().join("pairs.csv")).unwrap();
        let row = table.lines().nth(1).unwrap();
        self.workspace.data().join(row.split(',').next().unwrap())
    }
}

/// The training that tests share which only look at what it left.
pub fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let _alone = alone();
        let workspace = Workspace::shared("trained");
        let training = Training::prepare(workspace.config(&[])).unwrap();
        let run = training.run_dir().clone();
        let summary = training.run().unwrap();
        Trained {
            workspace,
            run,
            summary,
        }
    })
}

/// The program, which cargo builds beside the tests; it prints no backtraces, whatever the tests
/// do.
pub fn convirt<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = built("convirt");
    command.args(arguments);
    command
}

/// An example of this workspace, which cargo builds beside the tests.
pub fn example(name: &str) -> Command {
    built(&format!("examples/{name}"))
}

fn built(name: &str) -> Command {
    let executable = std::env::current_exe().unwrap();
    let profile = executable.ancestors().nth(2).unwrap();
    let path = profile.join(format!("{name}{EXE_SUFFIX}"));
    let missing = "build it first, as `cargo test --workspace` does";
    assert!(path.is_file(), "{}: {missing}", path.display());
    let mut command = Command::new(path);
    command.env_remove("RUST_BACKTRACE");
    command
}

/// The folder of the run that a program has printed.
pub fn run_of(text: &str) -> PathBuf {
    let run = text.lines().find_map(|line| line.strip_prefix("run: "));
    PathBuf::from(run.unwrap_or_else(|| panic!("no run in:\n{text}")))
}

/// Stops a training in the middle of a window, and returns its run: a stop that is asked for
/// beforehand takes effect after the first step.
pub fn interrupted(training: Training) -> PathBuf {
    let run = training.run_dir().path().to_path_buf();
    training.interrupter().stop(Some("test"));
    assert_eq!(training.run().unwrap().ending, Ending::Interrupted);
    run
}

/// Checks that a resumption may not change a setting.
pub fn assert_fixed_on_resume(run: &Path, setting: &str) {
    let changed = Training::resume(run, &[setting.to_string()]).map(drop);
    assert!(matches!(
        changed,
        Err(Error::Run(RunError::FixedOnResume { .. }))
    ));
}

/// What a run has computed: the saved weights, and the numbers of its steps and evaluations.
pub fn computed(run: &Path) -> (Vec<u8>, Vec<Vec<serde_json::Value>>) {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys = ["step", "loss", "gradient_norm", "accuracies", "retrieval"];
        keys.map(|key| line[key].take()).to_vec()
    });
    let weights = std::fs::read(run.join("model/model.safetensors")).unwrap();
    (weights, lines.collect())
}

/// The content of every file below a folder, by its path from there.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Sends a signal to a process: `-INT`, as Ctrl-C does, or `-KILL`.
#[cfg(target_os = "linux")]
pub fn send(signal: &str, id: u32) {
    let status = Command::new("kill")
        .args([signal, &id.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// What a program printed, errors last.
pub fn text_of(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}\n{err}")
}
