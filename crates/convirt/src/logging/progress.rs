//! Live progress of a training: Burn's terminal interface, or plain lines without a terminal.

use std::collections::HashMap;
#[cfg(feature = "tui")]
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use convirt_data::TrainingSteps;

use super::metrics::{
    IMAGE_TO_TEXT, LEARNING_RATE, LOSS, PAIRS_PER_SECOND, TEXT_TO_IMAGE, VIEW_TO_VIEW,
};

use super::LINE_INTERVAL;
use crate::messages::progress;
#[cfg(feature = "tui")]
use crate::messages::shows_progress;
use crate::readable::duration;

/// Returns Burn's terminal interface if standard output is a terminal and `plain` is not set, or a
/// renderer that logs lines.
#[cfg_attr(not(feature = "tui"), allow(unused_variables))]
pub(crate) fn renderer(
    steps: TrainingSteps,
    step: usize,
    interrupter: &Interrupter,
    plain: bool,
) -> Box<dyn MetricsRenderer> {
    #[cfg(feature = "tui")]
    if !plain && shows_progress() && std::io::stdout().is_terminal() {
        let renderer = burn::train::renderer::default_renderer(interrupter.clone(), None);
        restore_ctrl_c();
        return renderer;
    }
    Box::new(PlainProgress::new(steps, step))
}

/// Makes Ctrl-C a signal again, as soon as the thread of Burn's interface has entered raw mode. In
/// raw mode Ctrl-C is only a key, which the interface ignores.
#[cfg(all(unix, feature = "tui"))]
fn restore_ctrl_c() {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    std::thread::spawn(|| {
        let terminal = std::io::stdin();
        for _ in 0..100 {
            match tcgetattr(&terminal) {
                Ok(mut modes) if !modes.local_modes.contains(LocalModes::ISIG) => {
                    modes.local_modes |= LocalModes::ISIG;
                    // If this fails, the interface's key `q` still stops the training.
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
                    return;
                }
                Ok(_) => std::thread::sleep(Duration::from_millis(50)),
                // Standard input is not a terminal and has no keys.
                Err(_) => return,
            }
        }
    });
}

#[cfg(all(not(unix), feature = "tui"))]
fn restore_ctrl_c() {}

/// A renderer that logs a line every ten seconds and one for each evaluation.
struct PlainProgress {
    steps: TrainingSteps,
    step: usize,
    first_step: usize,
    logged_step: usize,
    started: Instant,
    last_line: Instant,
    evaluating: bool,
    names: HashMap<MetricId, String>,
    values: HashMap<String, f64>,
}

impl PlainProgress {
    fn new(steps: TrainingSteps, step: usize) -> Self {
        let now = Instant::now();
        Self {
            steps,
            step,
            first_step: step,
            logged_step: step,
            started: now,
            last_line: now,
            evaluating: false,
            names: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// Stores the current value of a metric.
    fn store(&mut self, state: MetricState) {
        if let MetricState::Numeric(entry, Some(value)) = state
            && let Some(name) = self.names.get(&entry.metric_id)
        {
            self.values.insert(name.clone(), value.current());
        }
    }

    /// Returns the current value of a metric, NaN if there is none yet.
    fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(f64::NAN)
    }

    fn scores(&self) -> String {
        let accuracies = [
            (IMAGE_TO_TEXT, "image→text"),
            (TEXT_TO_IMAGE, "text→image"),
            (VIEW_TO_VIEW, "view→view"),
        ];
        let mut scores = format!("loss {:.3}", self.value(LOSS));
        for (metric, name) in accuracies {
            if let Some(value) = self.values.get(metric) {
                scores += &format!("  {name} {:4.1} %", 100.0 * value);
            }
        }
        scores
    }

    fn log_training_line(&mut self) {
        progress(self.training_line());
        self.logged_step = self.step;
        self.last_line = Instant::now();
    }

    fn training_line(&self) -> String {
        let done = self.step.saturating_sub(self.first_step).max(1);
        let left = self.steps.total.saturating_sub(self.step);
        let seconds = self.started.elapsed().as_secs_f64() / done as f64 * left as f64;
        let speed = match self.values.get(PAIRS_PER_SECOND) {
            Some(speed) if speed.is_finite() => format!("{speed:.1} pairs/s  "),
            _ => String::new(),
        };
        format!(
            "step {:>5}/{}  {}  rate {:.2e}  {speed}{} left",
            self.step,
            self.steps.total,
            self.scores(),
            self.value(LEARNING_RATE),
            duration(seconds),
        )
    }
}

impl MetricsRendererTraining for PlainProgress {
    fn update_train(&mut self, state: MetricState) {
        self.store(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.store(state);
    }
}

impl TrainingProgressLogger for PlainProgress {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {
        self.started = Instant::now();
    }

    fn update_epoch(&mut self, _epoch: usize) {}

    fn start_split(&mut self, split: &str, _total_items: usize) {
        self.evaluating = split == "valid";
    }

    fn update_split(&mut self, _items_processed: usize) {
        if self.evaluating {
            return;
        }
        self.step += 1;
        let first = self.step == self.first_step + 1;
        if first || self.last_line.elapsed() >= LINE_INTERVAL {
            self.log_training_line();
        }
    }

    fn end_split(&mut self) {
        if self.evaluating {
            progress(format_args!(
                "evaluation at step {}: {}",
                self.step,
                self.scores()
            ));
            self.last_line = Instant::now();
        } else if self.logged_step != self.step {
            self.log_training_line();
        }
    }

    fn end(&mut self) {}

    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for PlainProgress {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for PlainProgress {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl MetricsRenderer for PlainProgress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id, definition.name.to_string());
    }
}
