//! A step of the optimizer, which a GPU begins before it is known whether the gradients are finite.

use burn::optim::GradientsParams;
use burn::train::{Learner, LearnerModel};

/// What is left to be done of an optimizer's step.
pub(super) enum Update<M: LearnerModel> {
    /// Nothing, unless it is to be taken back: this was the learner before it.
    Begun(Box<Learner<M>>),
    /// All.
    Due(GradientsParams),
}

impl<M: LearnerModel> Update<M> {
    /// Begins a step if the device has a queue of operations, which is not to become empty while their
    /// results are awaited. Until the end of the step it then holds the optimizer's state twice, in memory
    /// that the feature maps have left.
    pub fn begin(learner: &mut Learner<M>, gradients: GradientsParams, has_queue: bool) -> Self {
        if !has_queue {
            return Self::Due(gradients);
        }
        let before = Box::new(learner.clone());
        learner.optimizer_step(gradients);
        Self::Begun(before)
    }

    /// Does what is left of the step.
    pub fn finish(self, learner: &mut Learner<M>) {
        if let Self::Due(gradients) = self {
            learner.optimizer_step(gradients);
        }
    }

    /// Leaves the learner as it was before the step.
    pub fn take_back(self, learner: &mut Learner<M>) {
        if let Self::Begun(before) = self {
            *learner = *before;
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
    use burn::tensor::{Device, Tensor, TensorData};
    use burn::train::{InferenceStep, TrainOutput, TrainStep};

    use super::*;
    use crate::logging::PendingMeasures;
    use crate::training::adam::Adam;

    #[derive(Module, Debug)]
    struct Model {
        layer: Linear,
    }

    impl TrainStep for Model {
        type Input = f32;
        type Output = PendingMeasures;

        /// The gradient of each weight is the input.
        fn step(&self, input: f32) -> TrainOutput<PendingMeasures> {
            let input = Tensor::<2>::full([1, 2], input, &self.layer.weight.device());
            let loss = self.layer.forward(input).sum();
            let grads = GradientsParams::from_grads(loss.backward(), self);
            TrainOutput {
                grads,
                item: PendingMeasures::new(loss, Vec::new(), 1),
            }
        }
    }

    impl InferenceStep for Model {
        type Input = f32;
        type Output = PendingMeasures;

        fn step(&self, input: f32) -> PendingMeasures {
            TrainStep::step(self, input).item
        }
    }

    fn learner(layer: &Linear) -> Learner<Model> {
        let adam = Adam {
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        let model = Model {
            layer: layer.clone(),
        };
        let mut learner = Learner::new(model, adam.init(), ModuleLrScheduler::new(0.1));
        learner.lr_step();
        learner
    }

    fn weights(learner: &Learner<Model>) -> TensorData {
        learner.model().layer.weight.val().into_data()
    }

    #[test]
    fn a_step_is_taken_back_with_the_optimizers_state_and_finished_once() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(2, 1).init(&device);
        let mut expected = learner(&layer);
        let mut after = Vec::new();
        for input in [1.0, 3.0] {
            let gradients = TrainStep::step(&expected.model(), input).grads;
            expected.optimizer_step(gradients);
            after.push(weights(&expected));
        }
        for has_queue in [false, true] {
            let mut learner = learner(&layer);
            let begin = |learner: &mut Learner<Model>, input| {
                let gradients = TrainStep::step(&learner.model(), input).grads;
                Update::begin(learner, gradients, has_queue)
            };
            let update = begin(&mut learner, 1.0);
            assert_eq!(weights(&learner) == after[0], has_queue);
            update.finish(&mut learner);
            assert_eq!(weights(&learner), after[0]);
            let update = begin(&mut learner, -7.0);
            update.take_back(&mut learner);
            assert_eq!(weights(&learner), after[0]);
            begin(&mut learner, 3.0).finish(&mut learner);
            assert_eq!(weights(&learner), after[1]);
        }
    }
}
