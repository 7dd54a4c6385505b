"""The Python front door: an estimator with scikit-learn's conventions over the same training as the command line's."""

from sparsefuse.classifier.estimator import Classifier as Classifier
