"""A served model as a classifier of the Adversarial Robustness Toolbox (ART)."""
import numpy as np
from art.estimators import BaseEstimator, LossGradientsMixin
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin


class ServedClassifier(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, BaseEstimator):
    """What ART's white-box attacks need: logits, the gradient of the loss, and those of single logits."""

    estimator_params = BaseEstimator.estimator_params

    def __init__(self, served):
        super().__init__(model=served, clip_values=(served.info.input.low, served.info.input.high))
        self.nb_classes = served.info.classes

    @property
    def input_shape(self):
        return tuple(self.model.info.input.shape)

    def predict(self, x, batch_size=128, **kwargs):
        return self.model.logits(x)

    def loss_gradient(self, x, y, **kwargs):
        return self.model.gradient(x, y.argmax(axis=1) if y.ndim > 1 else y)

    def class_gradient(self, x, label=None, **kwargs):
        if label is None:
            classes = [np.full(len(x), c) for c in range(self.nb_classes)]
        else:
            classes = [np.broadcast_to(np.asarray(label), len(x))]
        unit = np.eye(self.nb_classes, dtype="f4")
        return np.stack([self.model.pull_back(x, unit[c]) for c in classes], axis=1)

    def fit(self, x, y, **kwargs):
        raise NotImplementedError("a served model is not trained")
