//! The records of a training as TensorBoard's events.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use convirt_data::Thumbnail;

use super::first_error::FirstError;
use super::record::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};
use crate::logging::EventWriter;

/// An observer that writes training values every few steps and validation values at each
/// evaluation. Tags are grouped: `loss/train`, `loss/valid`, `recall@10/image_to_text`.
pub(crate) struct TensorBoard {
    writer: EventWriter,
    every_n_steps: usize,
    error: FirstError,
}

impl TensorBoard {
    /// Creates an event file in `folder`.
    pub fn create(folder: &Path, every_n_steps: usize) -> io::Result<Self> {
        Ok(Self {
            writer: EventWriter::create(folder)?,
            every_n_steps: every_n_steps.max(1),
            error: FirstError::default(),
        })
    }

    /// Takes back what earlier files have after the resumed step. If its evaluation is still to
    /// come, that may be an evaluation at the step itself: then its own record, `again`, is written
    /// again.
    pub fn resume(&mut self, step: usize, again: Option<&StepRecord>) {
        let last_kept = step - usize::from(again.is_some() && step > 0);
        let written = self.writer.resume_after(last_kept as u64);
        self.check(written);
        if let Some(record) = again {
            self.on_step(record);
        }
        let written = self.writer.flush();
        self.check(written);
    }

    /// Writes a text, shown as Markdown.
    pub fn text(&mut self, tag: &str, step: usize, text: &str) {
        let written = self.writer.text(tag, step as u64, text);
        self.check(written);
    }

    /// Writes an image.
    pub fn image(&mut self, tag: &str, step: usize, image: Thumbnail) {
        let size = [image.width, image.height];
        let written = self.writer.image(tag, step as u64, size, image.png);
        self.check(written);
    }

    fn scalars(&mut self, step: usize, scalars: BTreeMap<String, f64>) -> io::Result<()> {
        for (tag, value) in scalars {
            self.writer.scalar(&tag, step as u64, value as f32)?;
        }
        self.writer.flush()
    }

    fn check(&mut self, written: io::Result<()>) {
        self.error.warn("TensorBoard's events", written);
    }
}

impl TrainingObserver for TensorBoard {
    fn on_step(&mut self, record: &StepRecord) {
        if !record.step.is_multiple_of(self.every_n_steps) {
            return;
        }
        let mut scalars = BTreeMap::from([
            ("loss/train".to_string(), record.loss),
            ("optimizer/learning_rate".to_string(), record.learning_rate),
            ("optimizer/temperature".to_string(), record.temperature),
            ("speed/waiting_seconds".to_string(), record.waiting_seconds),
        ]);
        for (tag, value) in [
            ("optimizer/gradient_norm", record.gradient_norm),
            ("speed/pairs_per_second", record.pairs_per_second),
            ("memory/resident_mib", record.memory_mib),
        ] {
            scalars.extend(value.map(|value| (tag.to_string(), value)));
        }
        for (name, accuracy) in &record.accuracies {
            scalars.insert(format!("accuracy/{name}/train"), *accuracy);
        }
        let written = self.scalars(record.step, scalars);
        self.check(written);
    }

    fn on_evaluation(&mut self, record: &EvaluationRecord) {
        let mut scalars = BTreeMap::from([("loss/valid".to_string(), record.loss)]);
        for (name, accuracy) in &record.accuracies {
            scalars.insert(format!("accuracy/{name}/valid"), *accuracy);
        }
        if let Some(retrieval) = &record.retrieval {
            for (name, direction) in [
                ("image_to_text", &retrieval.image_to_text),
                ("text_to_image", &retrieval.text_to_image),
            ] {
                let scores = &direction.scores;
                for (measure, value) in [
                    ("recall@1", scores.recall_at_1),
                    ("recall@5", scores.recall_at_5),
                    ("recall@10", scores.recall_at_10),
                    ("median_rank", scores.median_rank),
                ] {
                    scalars.insert(format!("{measure}/{name}"), value);
                }
            }
        }
        let written = self.scalars(record.step, scalars);
        self.check(written);
    }

    fn on_checkpoint(&mut self, _record: &CheckpointRecord) {
        let synced = self.writer.sync();
        self.check(synced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::read_scalars;
    use crate::records::record::tests::{evaluation, step};

    #[test]
    fn tags_are_grouped_and_have_recall_over_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = TensorBoard::create(folder.path(), 2).unwrap();
        for number in 1..=4 {
            events.on_step(&step(number));
        }
        events.on_evaluation(&evaluation(4));
        let scalars = read_scalars(folder.path()).unwrap();
        let steps: Vec<u64> = scalars["loss/train"].keys().copied().collect();
        assert_eq!(steps, [2, 4]);
        let tags: Vec<&str> = scalars.keys().map(String::as_str).collect();
        for tag in [
            "loss/valid",
            "accuracy/image_to_text/train",
            "accuracy/image_to_text/valid",
            "recall@10/image_to_text",
            "recall@1/text_to_image",
            "median_rank/image_to_text",
            "optimizer/gradient_norm",
            "optimizer/learning_rate",
            "optimizer/temperature",
            "speed/pairs_per_second",
            "speed/waiting_seconds",
            "memory/resident_mib",
        ] {
            assert!(tags.contains(&tag), "no {tag} in {tags:?}");
        }
        assert_eq!(scalars["loss/valid"][&4], 2.5);
    }

    #[test]
    fn a_resumed_session_takes_back_what_it_computes_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = TensorBoard::create(folder.path(), 1).unwrap();
        for number in 1..=5 {
            events.on_step(&step(number));
        }
        events.on_evaluation(&evaluation(4));
        drop(events);
        let steps = |tag: &str| -> Vec<u64> {
            let scalars = read_scalars(folder.path()).unwrap();
            let values = scalars.get(tag).into_iter().flatten();
            values.map(|(step, _)| *step).collect()
        };
        // A checkpoint after the evaluation at step 4, and one before it.
        TensorBoard::create(folder.path(), 1)
            .unwrap()
            .resume(4, None);
        assert_eq!(
            (steps("loss/train"), steps("loss/valid")),
            (vec![1, 2, 3, 4], vec![4])
        );
        let mut events = TensorBoard::create(folder.path(), 1).unwrap();
        events.resume(4, Some(&step(4)));
        assert_eq!(
            (steps("loss/train"), steps("loss/valid")),
            (vec![1, 2, 3, 4], vec![])
        );
    }
}
