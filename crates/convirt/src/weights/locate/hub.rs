//! Finds models of the Hugging Face hub in its cache, or downloads them into the cache.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use convirt_data::{ReportTokenizer, read_regular_text};
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;
use serde::Deserialize;

use super::kind::WeightsKind;
use crate::config::{ModelName, Objective};
use crate::messages::progress_bar;
use crate::weights::checksums::CHECKSUMS;
use crate::weights::file::{HUGGING_FACE_FILES, parts};
use crate::weights::{WeightsError, read_exported_config};

/// The configuration of a text encoder.
const CONFIG_FILE: &str = "config.json";
/// The weights of a whole model of this crate.
const MODEL_WEIGHTS: &str = "model.safetensors";
/// The files of a vocabulary, in order of preference. All files of one alternative are needed.
const VOCABULARIES: &[&[&str]] = &[
    &["tokenizer.json"],
    &["vocab.txt"],
    &["vocab.json", "merges.txt"],
];
/// The settings of a tokenizer, which are optional.
const TOKENIZER_SETTINGS: &str = "tokenizer_config.json";

/// Maximum length of a file with a token or the name of a commit, in bytes.
const MAX_LINE_BYTES: u64 = 4096;

/// Default of the longest time without new data during a download, in seconds.
const DEFAULT_TIMEOUT_SECONDS: u64 = 60;

/// The Hugging Face hub and the cache of its models.
///
/// The cache is that of Python's `huggingface_hub`, so that both programs share each download.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    cache: Cache,
    /// The address of another server; `None` for the hub itself.
    endpoint: Option<String>,
    token: Option<String>,
    offline: bool,
    /// The longest time without new data during a download.
    timeout: Duration,
}

/// Shows the progress of a download, and sends heartbeats to the thread that waits for it.
struct DownloadProgress {
    bar: ProgressBar,
    heartbeats: Sender<()>,
}

/// A model of the hub is not in the cache and could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[error(
    "no folder `{name}`, and the model of that name is not in the cache {cache}: {reason}; \
     to continue without the network, place its files {files} in the folder `{name}`, or copy the \
     cache from another computer and set HF_HOME", cache = cache.display(), files = files.join(", ")
)]
pub struct HubError {
    /// The name of the model.
    name: String,
    /// The folder of the cache.
    cache: PathBuf,
    /// The files that are needed.
    files: Vec<String>,
    /// The reason why the model was not downloaded.
    reason: String,
}

/// The cause of a failed download.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Index(#[from] WeightsError),
    #[error(
        "nothing came for {} seconds; HF_HUB_DOWNLOAD_TIMEOUT sets how long to wait",
        timeout.as_secs_f64()
    )]
    Timeout { timeout: Duration },
    #[error("the answer of the hub was not understood")]
    Panicked,
}

impl Hub {
    /// Reads the settings from the environment variables of Python's `huggingface_hub`.
    ///
    /// These are `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE` and `HF_HUB_DOWNLOAD_TIMEOUT`, which is in seconds.
    pub fn from_env() -> Self {
        let path = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let home = path("HF_HOME").unwrap_or_else(|| {
            let cache = path("XDG_CACHE_HOME");
            let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")));
            cache.unwrap_or_default().join("huggingface")
        });
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token =
            text("HF_TOKEN").or_else(|| read_regular_text(&token_file, MAX_LINE_BYTES).ok());
        let timeout = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.parse().ok());
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Self {
            cache: Cache::new(path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"))),
            endpoint: text("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_string()),
            token: token
                .map(|token| token.trim().to_string())
                .filter(|token| !token.is_empty()),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            timeout: Duration::from_secs(timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS)),
        }
    }

    /// Returns the folder of a model in the cache, after downloading it if necessary.
    ///
    /// A model in the cache is not updated. Another revision must be requested by its name.
    ///
    /// # Errors
    ///
    /// [`HubError`] if the model is not in the cache and cannot be downloaded.
    pub fn fetch(&self, model: &ModelName, kind: WeightsKind) -> Result<PathBuf, HubError> {
        if let Some(folder) = self.cached(model, kind) {
            return Ok(folder);
        }
        let error = |reason: String| HubError {
            name: model.name.clone(),
            cache: self.cache.path().clone(),
            files: kind.required_files(),
            reason,
        };
        if self.offline {
            return Err(error("HF_HUB_OFFLINE forbids downloads".to_string()));
        }
        self.download(model, kind)
            .map_err(|cause| error(format!("the download failed: {cause}")))?
            .ok_or_else(|| {
                error(
                    "the hub's model lacks files that are needed, or is of another kind"
                        .to_string(),
                )
            })
    }

    fn repo(model: &ModelName) -> Repo {
        Repo::with_revision(model.name.clone(), RepoType::Model, model.revision.clone())
    }

    /// Returns the folder of a model in the cache, or `None` if a needed file is not there.
    pub(super) fn cached(&self, model: &ModelName, kind: WeightsKind) -> Option<PathBuf> {
        let repo = self.cache.path().join(Self::repo(model).folder_name());
        let commit = read_regular_text(&repo.join("refs").join(&model.revision), MAX_LINE_BYTES);
        // Python writes no `refs` file for a model that was requested by its commit.
        let commit = commit.unwrap_or_else(|_| model.revision.clone());
        let folder = repo.join("snapshots").join(commit.trim());
        let exists = |name: &str| folder.join(name).is_file();
        let files = kind.choose_files(exists)?;
        if kind == WeightsKind::Model && !is_complete_model(&folder.join(CONFIG_FILE), exists) {
            return None;
        }
        let has_all_parts = |name: &&str| {
            !name.ends_with(".index.json")
                || parts(&folder.join(name))
                    .is_ok_and(|parts| parts.iter().all(|part| exists(part)))
        };
        files.iter().all(has_all_parts).then_some(folder)
    }

    /// Downloads a model; returns `None` if the hub's model lacks a needed file.
    ///
    /// The client has no time limits. Therefore it runs in a thread of its own, which is abandoned
    /// if it receives no data for too long.
    fn download(
        &self,
        model: &ModelName,
        kind: WeightsKind,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let (heartbeats, received_heartbeats) = channel();
        let (hub, model) = (self.clone(), model.clone());
        let download =
            thread::spawn(move || hub.download_with_heartbeats(&model, kind, &heartbeats));
        loop {
            match received_heartbeats.recv_timeout(self.timeout) {
                Ok(()) => (),
                Err(RecvTimeoutError::Timeout) => {
                    let timeout = self.timeout;
                    return Err(DownloadError::Timeout { timeout });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return download.join().unwrap_or(Err(DownloadError::Panicked));
                }
            }
        }
    }

    /// Downloads a model and sends heartbeats while data arrives.
    fn download_with_heartbeats(
        &self,
        model: &ModelName,
        kind: WeightsKind,
        heartbeats: &Sender<()>,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let mut builder = ApiBuilder::from_cache(self.cache.clone())
            .with_token(self.token.clone())
            .with_retries(2);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let repo = builder.build()?.repo(Self::repo(model));
        let cached = self.cache.repo(Self::repo(model));
        let get = |name: &str| -> Result<PathBuf, ApiError> {
            let progress = DownloadProgress {
                bar: progress_bar(0),
                heartbeats: heartbeats.clone(),
            };
            progress.send_heartbeat();
            match cached.get(name) {
                Some(path) => Ok(path),
                None => repo.download_with_progress(name, progress),
            }
        };
        let files = repo.info()?.siblings;
        let exists = |name: &str| files.iter().any(|file| file.rfilename == name);
        let mut folder = None;
        for name in kind.choose_files(exists).unwrap_or_default() {
            let path = get(name)?;
            if kind == WeightsKind::Model
                && name == CONFIG_FILE
                && !is_complete_model(&path, exists)
            {
                return Ok(None);
            }
            if name.ends_with(".index.json") {
                for part in parts(&path)? {
                    get(&part)?;
                }
            }
            folder = path.parent().map(Path::to_path_buf);
        }
        Ok(folder)
    }
}

/// Returns whether a `config.json` is that of an exported model of this crate whose other files exist.
fn is_complete_model(config: &Path, exists: impl Fn(&str) -> bool) -> bool {
    let Some(config) = read_exported_config(config) else {
        return false;
    };
    let objective = config.get("objective").map(Objective::deserialize);
    let objective = objective.transpose().map(Option::unwrap_or_default);
    let has_tokenizer = || ReportTokenizer::FILES.into_iter().all(exists);
    objective.is_ok_and(|objective| !objective.reads_texts() || has_tokenizer())
}

impl DownloadProgress {
    /// Sends a heartbeat. Nobody receives it if the download was abandoned.
    fn send_heartbeat(&self) {
        let _ = self.heartbeats.send(());
    }
}

impl Progress for DownloadProgress {
    fn init(&mut self, size: usize, file: &str) {
        self.bar.init(size, file);
        self.send_heartbeat();
    }

    fn update(&mut self, size: usize) {
        Progress::update(&mut self.bar, size);
        self.send_heartbeat();
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
        self.send_heartbeat();
    }
}

impl WeightsKind {
    /// Returns the needed files in the order of download, or `None` if one does not exist.
    fn choose_files(self, exists: impl Fn(&str) -> bool) -> Option<Vec<&'static str>> {
        let weights = *HUGGING_FACE_FILES.iter().find(|name| exists(name))?;
        let config = Some(CONFIG_FILE).filter(|name| exists(name));
        match self {
            Self::TextEncoder => (),
            // The optional configuration names the architecture.
            Self::ImageEncoder => return Some(config.into_iter().chain([weights]).collect()),
            // Whether it needs the tokenizer is in its configuration: see `is_complete_model`.
            Self::Model => {
                let others = [&ReportTokenizer::FILES[..], &[CHECKSUMS, MODEL_WEIGHTS]].concat();
                let others = others.into_iter().filter(|name| exists(name));
                let files = [config?].into_iter().chain(others).collect();
                return Some(files).filter(|_| exists(MODEL_WEIGHTS));
            }
        }
        let is_complete = |files: &&&[&str]| files.iter().all(|name| exists(name));
        let vocabulary = VOCABULARIES.iter().find(is_complete)?;
        let config = config?;
        let settings = Some(TOKENIZER_SETTINGS).filter(|name| exists(name));
        // Weights come last. If they are in the cache, the other files are there too, even after an
        // interrupted download.
        let small = [config].into_iter().chain(settings);
        Some(
            small
                .chain(vocabulary.iter().copied())
                .chain([weights])
                .collect(),
        )
    }

    /// Returns the files that a user has to place in a folder without a download.
    fn required_files(self) -> Vec<String> {
        let weights = "model.safetensors (or pytorch_model.bin)".to_string();
        match self {
            Self::ImageEncoder => vec![weights],
            Self::TextEncoder => vec![
                CONFIG_FILE.to_string(),
                weights,
                "tokenizer.json (or vocab.txt, or vocab.json and merges.txt)".to_string(),
                format!("{TOKENIZER_SETTINGS} (if the model has it)"),
            ],
            Self::Model => vec![
                format!("{CONFIG_FILE} (of convirt)"),
                MODEL_WEIGHTS.to_string(),
                format!(
                    "{} (if it reads texts)",
                    ReportTokenizer::FILES.join(" and ")
                ),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use tempfile::TempDir;

    use super::*;

    const COMMIT: &str = "d5892b39a4adaed74b92212a44081509db72f87b";
    const FILES: &[(&str, &str)] = &[
        ("config.json", "{}"),
        ("vocab.txt", "[PAD]"),
        ("tokenizer_config.json", "{\"do_lower_case\": false}"),
        (
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "part-1.safetensors"}}"#,
        ),
        ("part-1.safetensors", "numbers"),
        ("README.md", "not needed"),
    ];

    fn hub(folder: &TempDir, endpoint: Option<String>) -> Hub {
        Hub {
            cache: Cache::new(folder.path().join("hub")),
            offline: endpoint.is_none(),
            endpoint,
            token: Some("secret".to_string()),
            timeout: Duration::from_secs(DEFAULT_TIMEOUT_SECONDS),
        }
    }

    fn model(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    /// Starts a hub with one model; returns its address and the list of requested paths.
    fn start_server() -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requested = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requested);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &log);
            }
        });
        (address, requested)
    }

    /// Answers one request and records its path.
    fn answer(mut stream: TcpStream, requested: &Mutex<Vec<String>>) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let lines = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        let request: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
        let path = request[0].split(' ').nth(1).unwrap().to_string();
        let is_authorized = request.contains(&"authorization: bearer secret".to_string());
        requested.lock().unwrap().push(path.clone());

        let file = path.strip_prefix("/owner/model/resolve/v1/");
        let file = FILES
            .iter()
            .find(|(name, _)| Some(name.to_lowercase().as_str()) == file);
        let (status, headers, body) = if !is_authorized {
            ("401 Unauthorized", String::new(), String::new())
        } else if path == "/api/models/owner/model/revision/v1" {
            let siblings = FILES
                .iter()
                .map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#));
            let siblings = siblings.collect::<Vec<_>>().join(",");
            let body = format!(r#"{{"siblings":[{siblings}],"sha":"{COMMIT}"}}"#);
            ("200 OK", String::new(), body)
        } else if let Some((name, content)) = file {
            let length = content.len();
            let headers = format!(
                "etag: \"{name}\"\r\nx-repo-commit: {COMMIT}\r\n\
                 content-range: bytes 0-0/{length}\r\n"
            );
            let is_probe = request.contains(&"range: bytes=0-0".to_string());
            let body = if is_probe { &content[..1] } else { content };
            ("206 Partial Content", headers, body.to_string())
        } else {
            ("404 Not Found", String::new(), String::new())
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).unwrap();
    }

    #[test]
    fn a_model_is_downloaded_once_with_all_needed_files() {
        let folder = tempfile::tempdir().unwrap();
        let (address, requested) = start_server();
        let model = model("owner/model@v1");
        let online = hub(&folder, Some(address));
        let model_folder = online.fetch(&model, WeightsKind::TextEncoder).unwrap();
        for (name, content) in &FILES[..5] {
            assert_eq!(
                &fs::read_to_string(model_folder.join(name)).unwrap(),
                content
            );
        }
        assert!(!model_folder.join("README.md").exists());
        assert!(model_folder.ends_with(COMMIT));

        let requests = requested.lock().unwrap().len();
        assert_eq!(
            online.fetch(&model, WeightsKind::TextEncoder).unwrap(),
            model_folder
        );
        assert_eq!(requested.lock().unwrap().len(), requests);
        let offline = hub(&folder, None);
        assert_eq!(
            offline.fetch(&model, WeightsKind::ImageEncoder).unwrap(),
            model_folder
        );
        // The cache of a model that Python downloaded by its commit.
        let pinned = self::model(&format!("owner/model@{COMMIT}"));
        assert_eq!(
            offline.fetch(&pinned, WeightsKind::TextEncoder).unwrap(),
            model_folder
        );

        fs::remove_file(model_folder.join("part-1.safetensors")).unwrap();
        assert!(offline.fetch(&model, WeightsKind::TextEncoder).is_err());
    }

    #[test]
    fn a_whole_model_needs_its_configuration_and_weights_and_takes_its_tokenizer() {
        let files =
            |present: &[&str]| WeightsKind::Model.choose_files(|name| present.contains(&name));
        let all = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "checksums.json",
            "model.safetensors",
        ];
        // Weights come last, so that an interrupted download does not pass for a whole model.
        assert_eq!(files(&all), Some(all.to_vec()));
        let without_texts = ["config.json", "model.safetensors"];
        assert_eq!(files(&without_texts), Some(without_texts.to_vec()));
        assert_eq!(files(&all[1..]), None);
        assert_eq!(files(&all[..4]), None);
    }

    /// As `model.image_weights` leaves it: with configuration and weights, but no tokenizer.
    #[test]
    fn a_model_of_which_only_the_image_encoder_is_in_the_cache_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub(&folder, None);
        let snapshot = folder.path().join("hub/models--owner--chest/snapshots/v1");
        fs::create_dir_all(&snapshot).unwrap();
        let config = r#"{"model_type": "convirt", "objective": "convirt"}"#;
        fs::write(snapshot.join("config.json"), config).unwrap();
        fs::write(snapshot.join("model.safetensors"), "numbers").unwrap();
        let model = model("owner/chest@v1");
        let is_cached = |kind| hub.cached(&model, kind).is_some();
        assert!(is_cached(WeightsKind::ImageEncoder));
        assert!(!is_cached(WeightsKind::Model));
        for name in ReportTokenizer::FILES {
            fs::write(snapshot.join(name), "{}").unwrap();
        }
        assert!(is_cached(WeightsKind::Model));

        // A model of another library is not downloaded whole.
        fs::write(snapshot.join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
        assert!(!is_cached(WeightsKind::Model));
    }

    /// One server accepts the connection without an answer; the other stops inside of a file.
    #[test]
    fn a_download_without_new_data_times_out() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let stalling = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let addresses = [address(&silent), address(&stalling)];
        let (end_of_test, until_end_of_test) = channel::<()>();
        thread::spawn(move || {
            let (mut stream, _) = stalling.accept().unwrap();
            let beginning = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
            stream.write_all(beginning.as_bytes()).unwrap();
            // The connection stays open until the test ends.
            let _ = until_end_of_test.recv();
        });
        let folder = tempfile::tempdir().unwrap();
        for address in addresses {
            let hub = Hub {
                timeout: Duration::from_millis(50),
                ..hub(&folder, Some(address))
            };
            let model = model("owner/model");
            let error = hub.fetch(&model, WeightsKind::ImageEncoder).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("nothing came for 0.05 seconds"),
                "{message}"
            );
        }
        drop((end_of_test, silent));
    }

    #[test]
    fn the_error_without_a_download_says_why_and_which_files_to_place_where() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _) = start_server();
        // No server listens on port 9 of this machine.
        let unreachable = Some("http://127.0.0.1:9".to_string());
        for (endpoint, reason) in [
            (None, "HF_HUB_OFFLINE"),
            (unreachable, "download failed"),
            (Some(address), "404"),
        ] {
            let error = hub(&folder, endpoint)
                .fetch(&model("owner/other"), WeightsKind::TextEncoder)
                .unwrap_err()
                .to_string();
            let cache = folder.path().join("hub").display().to_string();
            for part in [
                reason,
                "the folder `owner/other`",
                "config.json",
                "model.safetensors (or pytorch_model.bin)",
                "tokenizer.json (or vocab.txt, or vocab.json and merges.txt)",
                &cache,
            ] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    }
}
