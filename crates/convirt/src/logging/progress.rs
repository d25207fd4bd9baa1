//! What Burn's trainer draws on the screen: its full-screen view, or nothing.

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

/// Returns Burn's full-screen view if `full_screen` is set, or a renderer that draws nothing.
#[cfg_attr(not(feature = "tui"), allow(unused_variables))]
pub(crate) fn renderer(full_screen: bool, interrupter: &Interrupter) -> Box<dyn MetricsRenderer> {
    #[cfg(feature = "tui")]
    if full_screen {
        let renderer = burn::train::renderer::default_renderer(interrupter.clone(), None);
        restore_ctrl_c();
        return renderer;
    }
    Box::new(Blank)
}

/// Makes Ctrl-C a signal again, as soon as the thread of Burn's interface has entered raw mode. In
/// raw mode Ctrl-C is only a key, which the interface ignores.
#[cfg(all(unix, feature = "tui"))]
fn restore_ctrl_c() {
    use std::time::Duration;

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

/// A renderer that draws nothing: the lines of a training are an observer's.
struct Blank;

impl MetricsRendererTraining for Blank {
    fn update_train(&mut self, _state: MetricState) {}
    fn update_valid(&mut self, _state: MetricState) {}
}

impl TrainingProgressLogger for Blank {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _epoch: usize) {}
    fn start_split(&mut self, _split: &str, _total_items: usize) {}
    fn update_split(&mut self, _items_processed: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for Blank {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for Blank {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl MetricsRenderer for Blank {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _definition: MetricDefinition) {}
}
