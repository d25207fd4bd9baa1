//! Models by their name on the Hugging Face hub: from its cache, or downloaded into it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use convirt_data::read_regular_text;
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

use super::kind::WeightsKind;
use crate::config::ModelName;
use crate::messages::progress_bar;
use crate::weights::WeightsError;
use crate::weights::file::{OF_HUGGING_FACE, parts};

/// Files that a program would place by hand, as the errors list them.
const DESCRIPTION: &str = "config.json";
/// Vocabularies, in order of preference; all files of one are needed.
const VOCABULARIES: &[&[&str]] = &[
    &["tokenizer.json"],
    &["vocab.txt"],
    &["vocab.json", "merges.txt"],
];
/// Taken where the model has it.
const SETTINGS: &str = "tokenizer_config.json";

/// Bytes of a file that holds a token or the name of a commit.
const MAX_LINE: u64 = 4096;

/// Seconds that a download may go without a byte, unless the environment says otherwise.
const PATIENCE: u64 = 60;

/// Where models are downloaded from and kept.
///
/// The cache is that of Python's `huggingface_hub`, so that a model is downloaded once for both.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    cache: Cache,
    /// `None`: the hub's own.
    endpoint: Option<String>,
    token: Option<String>,
    offline: bool,
    /// How long a download may go without a byte.
    patience: Duration,
}

/// Shows how far the download of a file has come, and tells the thread that waits for it.
struct Watched {
    bar: ProgressBar,
    signs: Sender<()>,
}

/// A model of the hub is neither in the cache nor could it be downloaded.
#[derive(Debug, thiserror::Error)]
#[error(
    "no folder `{name}`, and the model of that name is not in the cache {cache}: {reason}; \
     to go on without the network, place its files {files} in the folder `{name}`, or copy the \
     cache from elsewhere and set HF_HOME", cache = cache.display(), files = files.join(", ")
)]
pub struct HubError {
    /// The model.
    name: String,
    /// Folder of the cache.
    cache: PathBuf,
    /// Files that are needed.
    files: Vec<String>,
    /// Why it was not downloaded.
    reason: String,
}

/// What stops a download.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Index(#[from] WeightsError),
    #[error(
        "nothing came for {} seconds; HF_HUB_DOWNLOAD_TIMEOUT sets how long to wait",
        patience.as_secs_f64()
    )]
    Silent { patience: Duration },
    #[error("the answer of the hub was not understood")]
    Panicked,
}

impl Hub {
    /// As the environment says, with the variables of Python's `huggingface_hub`: `HF_HUB_CACHE`,
    /// `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds.
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
        let token = text("HF_TOKEN").or_else(|| read_regular_text(&token_file, MAX_LINE).ok());
        let patience = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.parse().ok());
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Self {
            cache: Cache::new(path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"))),
            endpoint: text("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_string()),
            token: token
                .map(|token| token.trim().to_string())
                .filter(|token| !token.is_empty()),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            patience: Duration::from_secs(patience.unwrap_or(PATIENCE)),
        }
    }

    /// The folder of a model in the cache, downloaded where it is not there yet.
    ///
    /// What is in the cache is taken as it is: a model does not change while it is used. Another
    /// revision is fetched by its name.
    ///
    /// # Errors
    ///
    /// [`HubError`] when it is not in the cache and cannot be downloaded.
    pub fn folder(&self, model: &ModelName, kind: WeightsKind) -> Result<PathBuf, HubError> {
        if let Some(folder) = self.cached(model, kind) {
            return Ok(folder);
        }
        let error = |reason: String| HubError {
            name: model.name.clone(),
            cache: self.cache.path().clone(),
            files: kind.files(),
            reason,
        };
        if self.offline {
            return Err(error("HF_HUB_OFFLINE forbids downloads".to_string()));
        }
        self.download(model, kind)
            .map_err(|cause| error(format!("the download failed: {cause}")))?
            .ok_or_else(|| error("the hub's model lacks files that are needed".to_string()))
    }

    fn repo(model: &ModelName) -> Repo {
        Repo::with_revision(model.name.clone(), RepoType::Model, model.revision.clone())
    }

    /// The folder of a model whose files are all in the cache.
    pub(super) fn cached(&self, model: &ModelName, kind: WeightsKind) -> Option<PathBuf> {
        let repo = self.cache.path().join(Self::repo(model).folder_name());
        let commit = read_regular_text(&repo.join("refs").join(&model.revision), MAX_LINE);
        // A commit has no reference to itself where Python downloaded it.
        let commit = commit.unwrap_or_else(|_| model.revision.clone());
        let folder = repo.join("snapshots").join(commit.trim());
        let there = |name: &str| folder.join(name).is_file();
        let files = kind.choose(there)?;
        let is_whole = |name: &&str| match name.ends_with(".index.json") {
            true => {
                parts(&folder.join(name)).is_ok_and(|parts| parts.iter().all(|part| there(part)))
            }
            false => true,
        };
        files.iter().all(is_whole).then_some(folder)
    }

    /// Downloads a model; `None` if the hub does not have all that is needed.
    ///
    /// The client knows no time limits: it works in a thread of its own, which is left alone when
    /// it has been silent for too long.
    fn download(
        &self,
        model: &ModelName,
        kind: WeightsKind,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let (signs, heard) = channel();
        let (hub, model) = (self.clone(), model.clone());
        let download = thread::spawn(move || hub.download_with(&model, kind, &signs));
        loop {
            match heard.recv_timeout(self.patience) {
                Ok(()) => (),
                Err(RecvTimeoutError::Timeout) => {
                    let patience = self.patience;
                    return Err(DownloadError::Silent { patience });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return download.join().unwrap_or(Err(DownloadError::Panicked));
                }
            }
        }
    }

    /// Downloads a model and gives signs of life.
    fn download_with(
        &self,
        model: &ModelName,
        kind: WeightsKind,
        signs: &Sender<()>,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let mut builder = ApiBuilder::from_cache(self.cache.clone())
            .with_token(self.token.clone())
            .with_retries(2);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let repo = builder.build()?.repo(Self::repo(model));
        let kept = self.cache.repo(Self::repo(model));
        let get = |name: &str| -> Result<PathBuf, ApiError> {
            let watched = Watched {
                bar: progress_bar(0),
                signs: signs.clone(),
            };
            watched.live();
            match kept.get(name) {
                Some(path) => Ok(path),
                None => repo.download_with_progress(name, watched),
            }
        };
        let there = repo.info()?.siblings;
        let is_there = |name: &str| there.iter().any(|file| file.rfilename == name);
        let mut folder = None;
        for name in kind.choose(is_there).unwrap_or_default() {
            let path = get(name)?;
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

impl Watched {
    /// Gives a sign of life; nobody hears it any more where the download was given up.
    fn live(&self) {
        let _ = self.signs.send(());
    }
}

impl Progress for Watched {
    fn init(&mut self, size: usize, file: &str) {
        self.bar.init(size, file);
        self.live();
    }

    fn update(&mut self, size: usize) {
        Progress::update(&mut self.bar, size);
        self.live();
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
        self.live();
    }
}

impl WeightsKind {
    /// The files to take of those that are there, in order; `None` if one is lacking.
    fn choose(self, is_there: impl Fn(&str) -> bool) -> Option<Vec<&'static str>> {
        let weights = *OF_HUGGING_FACE.iter().find(|name| is_there(name))?;
        let description = Some(DESCRIPTION).filter(|name| is_there(name));
        if self == Self::ImageEncoder {
            // It tells the architecture, where it is there.
            return Some(description.into_iter().chain([weights]).collect());
        }
        let is_whole = |files: &&&[&str]| files.iter().all(|name| is_there(name));
        let vocabulary = VOCABULARIES.iter().find(is_whole)?;
        let description = description?;
        let settings = Some(SETTINGS).filter(|name| is_there(name));
        // Weights come last: where they are in the cache, an interrupted download left nothing out.
        let small = [description].into_iter().chain(settings);
        Some(
            small
                .chain(vocabulary.iter().copied())
                .chain([weights])
                .collect(),
        )
    }

    /// What to place by hand.
    fn files(self) -> Vec<String> {
        let weights = "model.safetensors (or pytorch_model.bin)".to_string();
        match self {
            Self::ImageEncoder => vec![weights],
            Self::TextEncoder => vec![
                DESCRIPTION.to_string(),
                weights,
                "tokenizer.json (or vocab.txt, or vocab.json and merges.txt)".to_string(),
                format!("{SETTINGS} (if the model has it)"),
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
            patience: Duration::from_secs(PATIENCE),
        }
    }

    fn model(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    /// A hub with one model; it tells what it was asked for.
    fn server() -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &log);
            }
        });
        (address, asked)
    }

    fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let lines = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty());
        let request: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
        let path = request[0].split(' ').nth(1).unwrap().to_string();
        let is_authorized = request.contains(&"authorization: bearer secret".to_string());
        asked.lock().unwrap().push(path.clone());

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
    fn a_model_is_downloaded_once_with_all_that_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let (address, asked) = server();
        let model = model("owner/model@v1");
        let online = hub(&folder, Some(address));
        let found = online.folder(&model, WeightsKind::TextEncoder).unwrap();
        for (name, content) in &FILES[..5] {
            assert_eq!(&fs::read_to_string(found.join(name)).unwrap(), content);
        }
        assert!(!found.join("README.md").exists());
        assert!(found.ends_with(COMMIT));

        let requests = asked.lock().unwrap().len();
        assert_eq!(
            online.folder(&model, WeightsKind::TextEncoder).unwrap(),
            found
        );
        assert_eq!(asked.lock().unwrap().len(), requests);
        let offline = hub(&folder, None);
        assert_eq!(
            offline.folder(&model, WeightsKind::ImageEncoder).unwrap(),
            found
        );
        // As Python leaves it where the commit itself was asked for.
        let pinned = self::model(&format!("owner/model@{COMMIT}"));
        assert_eq!(
            offline.folder(&pinned, WeightsKind::TextEncoder).unwrap(),
            found
        );

        fs::remove_file(found.join("part-1.safetensors")).unwrap();
        assert!(offline.folder(&model, WeightsKind::TextEncoder).is_err());
    }

    /// A server that takes the call and says nothing, or begins a file and does not go on.
    #[test]
    fn a_hub_that_falls_silent_is_given_up() {
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let stalling = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |it: &TcpListener| format!("http://{}", it.local_addr().unwrap());
        let addresses = [address(&mute), address(&stalling)];
        let (end, ended) = channel::<()>();
        thread::spawn(move || {
            let (mut stream, _) = stalling.accept().unwrap();
            let beginning = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
            stream.write_all(beginning.as_bytes()).unwrap();
            // Held open until the test is over.
            let _ = ended.recv();
        });
        let folder = tempfile::tempdir().unwrap();
        for address in addresses {
            let hub = Hub {
                patience: Duration::from_millis(50),
                ..hub(&folder, Some(address))
            };
            let model = model("owner/model");
            let error = hub.folder(&model, WeightsKind::ImageEncoder).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("nothing came for 0.05 seconds"),
                "{message}"
            );
        }
        drop((end, mute));
    }

    #[test]
    fn what_cannot_be_had_says_why_and_which_files_to_place_where() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _) = server();
        // Nobody listens on port 9 of this machine.
        let nobody = Some("http://127.0.0.1:9".to_string());
        for (endpoint, reason) in [
            (None, "HF_HUB_OFFLINE"),
            (nobody, "download failed"),
            (Some(address), "404"),
        ] {
            let error = hub(&folder, endpoint)
                .folder(&model("owner/other"), WeightsKind::TextEncoder)
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
