//! Several processes, joined by MPI, train and embed as one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixtures::{Workspace, computed, convirt, run_of, send, text_of};

/// How soon the others end when a process dies.
const LIMIT: Duration = Duration::from_secs(30);

/// Two processes of a training.
fn two_processes(workspace: &Workspace, overrides: &[&str]) -> Command {
    two_processes_of(&arguments(workspace, overrides))
}

fn two_processes_of(arguments: &[String]) -> Command {
    let program = convirt::<&str>([]);
    let mut command = Command::new("mpirun");
    command
        // A test may run as root, on a machine with a single processor.
        .envs(["", "_CONFIRM"].map(|it| (format!("OMPI_ALLOW_RUN_AS_ROOT{it}"), "1")))
        .args(["-n", "2", "--oversubscribe", "--mca", "btl", "self,tcp"])
        .args(["--mca", "btl_tcp_if_include", "lo"])
        .arg(program.get_program())
        .args(arguments);
    command
}

fn arguments(workspace: &Workspace, overrides: &[&str]) -> Vec<String> {
    let config = workspace.config_file().display().to_string();
    let all = ["batch_size=8", "micro_batch_size=2", "model.dropout=0.2"];
    let all = all.iter().chain(overrides);
    let set = all.flat_map(|setting| ["--set".to_string(), setting.to_string()]);
    let train = ["train".to_string(), "--config".to_string(), config];
    train.into_iter().chain(set).collect()
}

/// Starts two processes of a training that does not end by itself.
fn endless(workspace: &Workspace) -> Child {
    let overrides = [
        "max_steps=1000000",
        "checkpoint_every_n_steps=2",
        "eval_every_n_steps=1000000",
    ];
    let mut mpirun = two_processes(workspace, &overrides);
    let mpirun = mpirun.stdout(Stdio::piped()).stderr(Stdio::piped());
    mpirun.spawn().unwrap()
}

/// The state of the newest whole checkpoint, once there is one after the first step.
fn wait_for_checkpoint(runs: &Path) -> PathBuf {
    let started = Instant::now();
    loop {
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "no checkpoint"
        );
        let runs = std::fs::read_dir(runs).into_iter().flatten().flatten();
        let files = runs.flat_map(|run| std::fs::read_dir(run.path().join("checkpoint")));
        let states = files.flatten().flatten().map(|file| file.path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut states = states
            .filter(|path| name(path).starts_with("state-") && !name(path).starts_with("state-0."));
        if let Some(state) = states.next() {
            return state;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The process ids of the two processes, the leader's first.
fn ranks(mpirun: &Child) -> Vec<u32> {
    let children = format!("/proc/{0}/task/{0}/children", mpirun.id());
    let children = std::fs::read_to_string(children).unwrap();
    let mut ids: Vec<u32> = children
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn two_processes_compute_the_run_of_one_to_the_bit() {
    let workspace = Workspace::new();
    let alone = convirt(arguments(&workspace, &[])).output().unwrap();
    let expected = computed(&run_of(&text_of(&alone)));
    let two = two_processes(&workspace, &[]).output().unwrap();
    let text = text_of(&two);
    assert!(two.status.success(), "{text}");
    assert!(text.contains("processes       2\n"), "{text}");
    assert!(text.contains(" MiB sent"), "{text}");
    assert_eq!(
        text.matches("image encoder").count(),
        1,
        "one of them prints: {text}"
    );
    let (weights, lines) = computed(&run_of(&text));
    assert_eq!(lines, expected.1);
    assert!(weights == expected.0, "weights differ");
}

#[test]
fn a_killed_process_ends_the_others_and_the_checkpoint_stays() {
    for victim in [0, 1] {
        let workspace = Workspace::new();
        let mut mpirun = endless(&workspace);
        let state = wait_for_checkpoint(&workspace.runs());
        let ids = ranks(&mpirun);
        assert_eq!(ids.len(), 2);
        send("-KILL", ids[victim]);
        let killed = Instant::now();
        while mpirun.try_wait().unwrap().is_none() {
            assert!(
                killed.elapsed() < LIMIT,
                "rank {victim} died, and the other goes on"
            );
            thread::sleep(Duration::from_millis(50));
        }
        let output = mpirun.wait_with_output().unwrap();
        assert!(!output.status.success());
        let text = text_of(&output);
        assert!(text.contains("signal 9"), "{text}");
        let run = state.ancestors().nth(2).unwrap();
        // `mpirun` may be gone before the process that it has ended.
        loop {
            let mut resume = convirt(["resume"]);
            let resumed = resume.arg(run).args(["--set", "max_steps=20"]).output();
            let resumed = resumed.unwrap();
            if resumed.status.success() {
                break;
            }
            let text = text_of(&resumed);
            assert!(text.contains("another process"), "{text}");
            assert!(killed.elapsed() < LIMIT, "{text}");
            thread::sleep(Duration::from_millis(500));
        }
    }
}

#[test]
fn a_stop_saves_a_checkpoint_of_all() {
    let workspace = Workspace::new();
    let mpirun = endless(&workspace);
    wait_for_checkpoint(&workspace.runs());
    // As Slurm does, which sends the signal to every process.
    ranks(&mpirun).into_iter().for_each(|id| send("-TERM", id));
    let text = text_of(&mpirun.wait_with_output().unwrap());
    assert!(text.contains("interrupted"), "{text}");
    assert!(text.contains("run: "), "{text}");
}

#[test]
fn an_error_of_the_first_process_is_told_once_and_ends_both() {
    let workspace = Workspace::new();
    for (setting, problem) in [
        ("dataset.csv_file=nowhere.csv", "nowhere.csv"),
        ("batch_size=1000", "batch_size"),
    ] {
        let output = two_processes(&workspace, &[setting]).output().unwrap();
        let text = text_of(&output);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains(problem), "{text}");
        let errors = text.lines().filter(|line| line.starts_with("Error: "));
        assert_eq!(errors.count(), 1, "{text}");
    }
}

/// A table of which two rows cannot be used, and embeddings of its images and texts.
#[test]
fn two_processes_read_a_table_and_embed_as_one_does() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let rows = std::fs::read_to_string(&table).unwrap();
    let images: Vec<&str> = (rows.split([',', '\n']))
        .filter(|cell| cell.ends_with(".jpg"))
        .collect();
    for image in [images[0], images[images.len() - 1]] {
        std::fs::write(workspace.data().join(image), "no image").unwrap();
    }
    let lenient = ["dataset.max_bad_share=0.2"];
    let alone = convirt(arguments(&workspace, &lenient)).output().unwrap();
    let two = two_processes(&workspace, &lenient).output().unwrap();
    let text = text_of(&two);
    assert!(two.status.success(), "{text}");
    let run = run_of(&text);
    assert!(computed(&run) == computed(&run_of(&text_of(&alone))));

    let embed = |source: &[&str], out: &str| -> Vec<String> {
        let (run, out) = (run.display().to_string(), workspace.data().join(out));
        let out = out.display().to_string();
        let all = ["embed", "--run", &run, "--out", &out, "--batch-size", "2"];
        let all = [&all, source, &["--max-bad-share", "0.2"]].concat();
        all.into_iter().map(String::from).collect()
    };
    let (folder, table) = (workspace.data().join("images"), table.display().to_string());
    let folder = folder.display().to_string();
    for (source, name) in [
        (&["--images", &*folder][..], "images"),
        (
            &["--manifest", &*table, "--texts", "--split", "all"],
            "texts",
        ),
    ] {
        let [one, two] = ["one", "two"].map(|it| format!("{name}-{it}.npy"));
        let alone = convirt(embed(source, &one)).output().unwrap();
        assert!(alone.status.success(), "{}", text_of(&alone));
        let output = two_processes_of(&embed(source, &two)).output().unwrap();
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("processes       2\n"), "{text}");
        let bytes = |name: &str| std::fs::read(workspace.data().join(name)).unwrap();
        assert!(bytes(&one) == bytes(&two), "{name}");
    }
}

#[test]
fn a_leader_that_cannot_begin_ends_the_others() {
    let workspace = Workspace::new();
    let out = workspace.data().join("out.npy").display().to_string();
    let arguments = [
        "embed", "--run", "nowhere", "--images", "nowhere", "--out", &out,
    ];
    let arguments = arguments.map(String::from);
    let output = two_processes_of(&arguments).output().unwrap();
    let text = text_of(&output);
    assert!(!output.status.success(), "{text}");
    assert_eq!(text.matches("Error: ").count(), 1, "{text}");
}
