//! The description of a run, in lines.

use std::fmt;

use convirt_data::{Split, TrainingSteps, small_validation_warning};
use convirt_ops::KERNEL_VARIABLE;

use super::division::Division;
use super::{Resumption, Training};
use crate::compute::{describe_device, device_name, kernel_name, missing_precision};
use crate::config::ScheduleKind;
use crate::readable::thousands;

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, name: &str, text: String| writeln!(f, "{name:<16}{text}");
        line(f, "run", self.run.path().display().to_string())?;
        if let Some(Resumption { state, .. }) = &self.resumption {
            line(f, "resumed at", format!("step {}", state.step))?;
        }
        if self.finished.is_some() {
            let steps = self.loaders.steps.total;
            return writeln!(
                f,
                "the run has ended: of its {steps} steps none is left, or the early stop was \
                 reached; nothing changes. `--set max_steps=N` or `--set epochs=N` extends it"
            );
        }
        let resumption = self.resumption.iter();
        for change in resumption.flat_map(|resumption| &resumption.settings) {
            line(f, "changed", change.clone())?;
        }
        let precision = self.config.precision_on(&self.device);
        f.write_str(&describe_device(&self.device, precision))?;
        if !self.other_devices.is_empty() {
            let others: Vec<_> = self.other_devices.iter().map(device_name).collect();
            line(f, "with", others.join(", "))?;
        }
        if self.processes.size() > 1 {
            line(f, "processes", self.processes.size().to_string())?;
        }
        line(f, "seed", self.config.seed.to_string())?;
        let unused = self.config.without_effect();
        if !unused.is_empty() {
            let unused = unused.join(", ");
            writeln!(
                f,
                "note: with this objective and loss these settings have no effect: {unused}"
            )?;
        }
        let counts = self.network.parameter_counts();
        let parts = [
            ("image encoder", counts.image_encoder),
            ("text encoder", counts.text_encoder),
            ("heads", counts.heads),
        ];
        for (name, count) in parts.into_iter().filter(|(_, count)| count.total > 0) {
            let [total, trainable] = [count.total, count.trainable].map(thousands);
            line(f, name, format!("{total} parameters, {trainable} trained"))?;
        }
        for load in &self.loads {
            line(f, "weights", load.to_string())?;
        }
        if let Some(columns) = &self.columns {
            line(f, "columns", columns.to_string())?;
            for remark in &columns.remarks {
                writeln!(f, "note: {remark}")?;
            }
        }
        let (train, valid) = (
            self.loaders.train.dataset().len(),
            self.loaders.valid.dataset().len(),
        );
        let pairs = self.config.objective.rows_name();
        line(f, pairs, format!("{train} to train on, {valid} held out"))?;
        let held_out = self.loaders.valid.dataset().studies();
        if held_out
            .iter()
            .any(|study| study.split == Some(Split::Train))
        {
            writeln!(
                f,
                "note: the split has no valid rows; these {pairs} were drawn from its train rows"
            )?;
        }
        for (reason, count) in self.loaders.skips.counts() {
            line(f, "left out", format!("{count} {reason}"))?;
        }
        for warning in self.warnings() {
            writeln!(f, "warning: {warning}")?;
        }
        let TrainingSteps { window, total } = self.loaders.steps;
        let batch = self.config.batch_size;
        let peers = self.peer_count();
        let division = Division::new(&self.config, peers);
        if division.is_divided() {
            let [parts, part] = [division.parts(), division.part_size];
            let on_peers = match peers {
                1 => String::new(),
                _ => format!(" on {peers} devices"),
            };
            let text = format!(
                "{parts} of {part} {pairs} a step{on_peers}; the loss is that of all {batch}, statistics \
                 of batch norms are those of a micro-batch",
            );
            line(f, "micro-batches", text)?;
        }
        line(
            f,
            "steps",
            format!(
                "{total} of {batch} {pairs}, {} negatives each, evaluated every {window}",
                thousands(self.config.objective.negatives(batch))
            ),
        )
    }
}

impl Training {
    /// Returns what may affect the result and is known before the first step.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(resumption) = &self.resumption {
            for damaged in &resumption.passed_over {
                warnings.push(format!("a checkpoint is passed over: {damaged}"));
            }
            for change in &resumption.unexpected {
                let step = resumption.state.step;
                warnings.push(format!(
                    "changed since the checkpoint of step {step}: {change}"
                ));
            }
        }
        if let Some((step, kernel)) = self.other_kernel() {
            warnings.push(format!(
                "up to step {step} the kernel {kernel} computed the matrix products; with another \
                 kernel, this run will not be bit for bit the same; {KERNEL_VARIABLE}={kernel} \
                 selects that kernel, if the processor has it"
            ));
        }
        warnings.extend(missing_precision(
            self.config.requested_precision(),
            &self.device,
        ));
        let held_out = self.loaders.valid.dataset().len();
        warnings.extend(small_validation_warning(held_out, self.config.batch_size));
        let leaked = self.loaders.leaked_images();
        if leaked > 0 {
            warnings.push(format!(
                "{leaked} of the images held out have the same content as training images"
            ));
        }
        let total = self.loaders.steps.total;
        let schedule = &self.config.schedule;
        if schedule.warmup_steps >= total {
            warnings.push(format!(
                "the warm-up takes {} steps, and the training has {total}: it does not reach \
                 `learning_rate`; lower `schedule.warmup_steps`",
                schedule.warmup_steps
            ));
        }
        if let Some(Resumption {
            earlier_total: earlier,
            ..
        }) = self.resumption
            && schedule.kind == ScheduleKind::Cosine
            && earlier != total
        {
            warnings.push(format!(
                "the cosine schedule now ends at step {total} instead of {earlier}: the learning \
                 rate jumps at the resumed step"
            ));
        }
        warnings
    }

    /// Returns the step and the kernel of the resumed checkpoint, if its kernel is not the current
    /// one.
    fn other_kernel(&self) -> Option<(usize, &str)> {
        let state = &self.resumption.as_ref()?.state;
        let saved = state.kernel.as_deref()?;
        let current = kernel_name(&self.device, self.config.precision_on(&self.device));
        (current.as_deref() != Some(saved)).then_some((state.step, saved))
    }
}
