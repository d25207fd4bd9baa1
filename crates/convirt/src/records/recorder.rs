//! Turns the measures of a training into records, and passes them to all observers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};
use crate::logging::Measures;
use crate::network::resident_memory;
use crate::retrieval::Retrieval;

/// The observers of a training, and the clocks of its records.
pub(crate) struct Recorder {
    observers: Vec<Box<dyn TrainingObserver>>,
    /// Names of the accuracies of [`Measures`].
    accuracy_names: &'static [&'static str],
    /// Time of the earlier parts of the run, in seconds.
    earlier_seconds: f64,
    started: Instant,
    previous_step: Option<Instant>,
}

/// What is known of a step beside its [`Measures`].
pub(crate) struct StepFacts {
    pub step: usize,
    pub learning_rate: f64,
    pub gradient_norm: Option<f64>,
    pub temperature: f64,
    /// Time that the host waited for the step's batch.
    pub waiting: Duration,
    /// Bytes sent to other peers; `None` without others.
    pub exchanged: Option<u64>,
}

impl Recorder {
    /// Starts the clocks. `earlier_seconds` is the time of the earlier parts of the run.
    pub fn new(accuracy_names: &'static [&'static str], earlier_seconds: f64) -> Self {
        Self {
            observers: Vec::new(),
            accuracy_names,
            earlier_seconds,
            started: Instant::now(),
            previous_step: None,
        }
    }

    /// Adds an observer.
    pub fn add(&mut self, observer: impl TrainingObserver + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Adds observers of the user's own, which have not seen the description of the run: they are
    /// told of its `warnings`.
    pub fn extend(&mut self, mut observers: Vec<Box<dyn TrainingObserver>>, warnings: &[String]) {
        for observer in &mut observers {
            for warning in warnings {
                observer.on_warning(warning);
            }
        }
        self.observers.extend(observers);
    }

    /// Returns the time of training so far, in seconds, over all parts of the run.
    pub fn seconds(&self) -> f64 {
        self.earlier_seconds + self.started.elapsed().as_secs_f64()
    }

    /// Records a step.
    pub fn step(&mut self, measures: &Measures, facts: StepFacts) {
        let now = Instant::now();
        let previous = self.previous_step.replace(now);
        let speed = previous.map(|previous| {
            let seconds = (now - previous).as_secs_f64().max(1e-9);
            measures.pairs as f64 / seconds
        });
        let record = StepRecord {
            step: facts.step,
            loss: measures.loss,
            accuracies: self.named(&measures.accuracies),
            learning_rate: facts.learning_rate,
            gradient_norm: facts.gradient_norm,
            temperature: facts.temperature,
            pairs_per_second: speed,
            waiting_seconds: facts.waiting.as_secs_f64(),
            exchanged_mib: facts.exchanged.map(mebibytes),
            memory_mib: resident_memory().map(mebibytes),
            seconds: self.seconds(),
        };
        for observer in &mut self.observers {
            observer.on_step(&record);
        }
    }

    /// Records an evaluation. The time that it took does not count in the speed of the next step.
    pub fn evaluation(
        &mut self,
        step: usize,
        measures: &Measures,
        retrieval: Option<Retrieval>,
        is_best: bool,
    ) {
        self.previous_step = None;
        let record = EvaluationRecord {
            step,
            loss: measures.loss,
            is_best,
            accuracies: self.named(&measures.accuracies),
            retrieval,
            seconds: self.seconds(),
        };
        for observer in &mut self.observers {
            observer.on_evaluation(&record);
        }
    }

    /// Records a checkpoint.
    pub fn checkpoint(&mut self, record: &CheckpointRecord) {
        for observer in &mut self.observers {
            observer.on_checkpoint(record);
        }
    }

    /// Records a warning.
    pub fn warning(&mut self, text: &str) {
        for observer in &mut self.observers {
            observer.on_warning(text);
        }
    }

    fn named(&self, accuracies: &[f64]) -> BTreeMap<String, f64> {
        let names = self.accuracy_names.iter().map(ToString::to_string);
        names.zip(accuracies.iter().copied()).collect()
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
